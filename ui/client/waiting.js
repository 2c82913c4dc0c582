// The points of a map, waited for while it is being made: once for each audit, by a process of its own.

import { get, post } from "./api.js";

const ASK = 700; // milliseconds between two looks

/**
 * @param {(text: string, again?: () => void) => void} say what there is to know meanwhile, or why there is no map
 * @returns {Promise<{points: object, progress: object}|null>} null where there will be none
 */
export async function waitForPoints(audit, signal, say) {
  let begun = false;
  while (!signal.aborted) {
    let answer = { making: 0 };
    try {
      answer = await get("map", { audit }, { signal });
      if ("making" in answer && answer.making === null && !answer.failed) {
        // Once only: a process that ends without a map would else be begun for ever.
        if (begun) answer.failed = "its process ended without one";
        else answer.making = (await post("map/make", { audit })).making;
        begun = true;
      }
    } catch (error) {
      if (signal.aborted) return null;
      if (error.status) {
        say(error.message);
        return null;
      }
    }
    if (answer.points) return answer;
    if (answer.problem) {
      say(answer.problem);
      return null;
    }
    if (answer.failed) {
      await new Promise((again) => say(`The map could not be made: ${answer.failed}`, again));
      begun = false;
      await post("map/make", { audit }).catch(() => null);
      continue;
    }
    const time = answer.about ? ` It takes about ${answer.about}, once; you can leave this page meanwhile.` : "";
    say(`The map is being made: ${Math.round(100 * (answer.making ?? 0))}%.${time}`);
    await new Promise((done) => setTimeout(done, ASK));
  }
  return null;
}
