// A policy of your own: of each four tokens the cache keeps every fourth, besides the first ones and the newest.
import { definePolicy, loadModel } from 'keyhold';

export const everyFourth = definePolicy({
  name: 'every-fourth',
  summary: 'keeps every fourth token, and the newest',
  sinks: 4,
  score(group) {
    const { positions, length, values } = group;
    for (let slot = 0; slot < length; slot++) values[slot] = positions[slot] % 4 === 0 ? 1 : 0;
    return values;
  },
});
// Also for the command line: keyhold eval compare --policies ./own-policy.mjs,lastrec
export default everyFourth;

const model = await loadModel();
try {
  const cache = model.createCache({ policy: everyFourth, cacheLength: 64 });
  await model.generate('And it came to pass', { cache, maxNewTokens: 120 }).text();
  console.log(cache.tokenPositions(0, 0).join(' '));
} finally {
  await model.dispose();
}
