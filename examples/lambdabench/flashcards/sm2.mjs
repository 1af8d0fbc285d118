// SuperMemo 2, as its author published it: how well a card was remembered, from 0 to 5, decides
// after how many days it is shown again. The ease is kept in hundredths, so all of it is exact.

const EASE_FIRST = 250;
const EASE_LEAST = 130;
const INTERVAL_MAX = 36_500;
const DAY_MS = 86_400_000;

export const later = (day, days) =>
  new Date(Date.parse(day) + days * DAY_MS).toISOString().slice(0, 10);

/** What is known of a card that nobody has seen yet. */
export const fresh = (day) => ({ ease: EASE_FIRST, interval: 0, repetitions: 0, due: day });

/** The same after a review of `quality` on `day`. */
export function review({ ease, interval, repetitions }, quality, day) {
  // What was forgotten is learnt anew; how easy it is does not change.
  if (quality < 3) return { ease, interval: 1, repetitions: 0, due: later(day, 1) };
  const missing = 5 - quality;
  const eased = Math.max(EASE_LEAST, ease + 10 - missing * (8 + 2 * missing));
  const grown = [1, 6][repetitions] ?? Math.ceil((interval * eased) / 100);
  const days = Math.min(grown, INTERVAL_MAX);
  return { ease: eased, interval: days, repetitions: repetitions + 1, due: later(day, days) };
}
