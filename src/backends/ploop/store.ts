import type { ImageStore } from "../../images/images.ts";
import type { Engine } from "./engine.ts";

/** A store of disks of ploop. */
export interface PloopStore extends ImageStore {
  readonly engine: Engine;
}
