"""The demo: drawn scenes go through the whole engine by REST, and what came out is shown.

`python -m deploy.demo` runs everything in one child process with a state of its own; `--stack` uses the stack
that runs at TERCET_URL. It fails, exit code 1, unless every image is accounted for.
"""
