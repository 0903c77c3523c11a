/** Numbers from 0 to 1, the same in every run: the generator of Park and Miller. */
export function makeRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 48271) % 0x7fffffff;
    return state / 0x7fffffff;
  };
}
