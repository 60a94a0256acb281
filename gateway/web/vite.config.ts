import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

const gateway = process.env.TERCET_URL ?? "http://127.0.0.1:8080";

export default defineConfig({
  plugins: [react()],
  build: {
    target: "es2023",
    // Inlined assets would need data: in the Content-Security-Policy.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 900,
  },
  // `npm run dev` is the page with hot reloading, over a gateway that runs.
  server: { proxy: { "/v1": gateway, "/openapi.json": gateway } },
});
