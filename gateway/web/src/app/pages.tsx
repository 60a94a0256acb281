import { type ComponentType, lazy } from "react";
import type { Role } from "./session";

export interface PageEntry {
  readonly path: string;
  readonly title: string;
  /** Who sees it: any of these roles. */
  readonly roles: readonly Role[];
  readonly Page: ComponentType;
}

/** The pages, in the order of the navigation. The first that a person may see is the one that opens. */
export const PAGES: readonly PageEntry[] = [
  {
    path: "/review",
    title: "Review",
    roles: ["annotator"],
    Page: lazy(() => import("../review/ReviewPage")),
  },
  {
    path: "/annotate",
    title: "Annotate",
    roles: ["annotator"],
    Page: lazy(() => import("../annotate/AnnotatePage")),
  },
  {
    path: "/check",
    title: "Check",
    roles: ["annotator", "verifier"],
    Page: lazy(() => import("../check/CheckPage")),
  },
  {
    path: "/adjudicate",
    title: "Adjudicate",
    roles: ["lead"],
    Page: lazy(() => import("../check/AdjudicatePage")),
  },
  {
    path: "/lead",
    title: "Lead",
    roles: ["lead", "submitter"],
    Page: lazy(() => import("../lead/LeadPage")),
  },
];
