import type { Steps } from "../system/steps.ts";
import type { Form } from "./form.ts";
import type { Location } from "./location.ts";

/** What a backend shares with its location: where its volumes are, in which form, and how they are changed. */
export interface Store {
  readonly steps: Steps;
  readonly location: Location;
  readonly form: Form;
  /** How long to wait for a volume that another process works on. */
  readonly lockTimeoutMs: number;
}
