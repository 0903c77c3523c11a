import { type ActionName, runAction } from "../../src/api/actions.ts";
import { openMosaic } from "../../src/api/open.ts";
import { type FaultMode, FaultySteps } from "./faults.ts";

// Runs one action with a fault: `faultchild.ts CONFIG MODE K ACTION VALUES`, where K is the number of a step, or a regular
// expression for its text. Exits with 0 and prints the number of steps when the fault did not fire.

const [config = "", mode = "", at = "", action = "", values = "{}"] = process.argv.slice(2);

async function main(): Promise<void> {
  const steps = new FaultySteps(/^\d+$/.test(at) ? Number(at) : new RegExp(at), mode as FaultMode);
  await using mosaic = await openMosaic(config, { steps });
  await runAction(mosaic, action as ActionName, JSON.parse(values));
  console.log(steps.count);
}

void main();
