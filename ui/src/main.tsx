import { QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import "@/design/tokens.css";
import "@/design/base.css";
import "@/design/frame.css";
import "@/design/dialog.css";
import { queryClient } from "@/api/queries";
import { router } from "@/app/router";
import { reloadAfterUpgrade } from "@/app/upgrade";

reloadAfterUpgrade();

const root = document.getElementById("root");
if (!root) throw new Error("index.html has no element with the id `root`");
createRoot(root).render(
  <StrictMode>
    <QueryClientProvider client={queryClient}>
      <RouterProvider router={router} />
    </QueryClientProvider>
  </StrictMode>,
);
