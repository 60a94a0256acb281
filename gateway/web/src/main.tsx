import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { Refused } from "./api/problem";
import { App } from "./app/App";
import { listenToKeys } from "./keys/useKeys";
import { listenToActivity } from "./queue/activity";
import "./styles/base.css";
import "./styles/shell.css";
import "./styles/work.css";

listenToKeys();
listenToActivity();

const queries = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 5_000,
      retry: (count, error) => count < 3 && !(error instanceof Refused && !error.passing),
    },
  },
});

const root = document.getElementById("root");
if (root) {
  createRoot(root).render(
    <StrictMode>
      <QueryClientProvider client={queries}>
        <App />
      </QueryClientProvider>
    </StrictMode>,
  );
}
