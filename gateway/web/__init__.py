"""The web page: TypeScript in `src`, built into `dist` by `python -m gateway.web.build`."""
