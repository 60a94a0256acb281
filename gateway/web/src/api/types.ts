/** The REST API's words. `schema.d.ts` is generated from the gateway's OpenAPI document by the build. */

export type {
  DecidedPair,
  DecisionRequest,
  Earlier,
  Image,
  Job,
  Lease,
  LeasedTask,
  LeasedTaskList,
  Mask,
  Pair,
  QueueDepth,
  Queues,
  Region,
  Reopened,
  ReviewTask,
  Sibling,
} from "./schema";

import type { ReviewTask } from "./schema";

export type TaskType = ReviewTask["type"];
export type Polarity = "positive" | "negative";
