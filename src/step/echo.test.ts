import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { CASES, configJson } from '../../test/support/family-cases.ts';
import { tempFolder } from '../../test/support/temp-folder.ts';
import { isEncoder } from '../config/config.ts';
import { slotSpec } from '../config/layer-spec.ts';
import { readConfig } from '../families/read-config.ts';
import { definePolicy } from '../kvcache/policy/define-policy.ts';
import type { Need } from '../kvcache/policy/needs.ts';
import { type LanguageModel, loadModel } from '../node.ts';

const FAMILIES = join(import.meta.dirname, '../../test/fixtures/families');
/** Families whose first layer holds slots, and reads nothing that depends on the position but the rotation. */
const READABLE = CASES.filter((name) => {
  const { config } = readConfig(configJson(name));
  return !isEncoder(config) && config.position !== 'learned' && slotSpec(config.layers[0].mixer) !== null;
});
const cacheDir = await tempFolder('echo');

/** What the first layer's groups are shown of each candidate, by row and position, step by step. */
type Shown = Map<string, number>[];

function watching(need: Need, shown: Shown) {
  return definePolicy({
    name: `watching-${need}`,
    needs: [need],
    score: ({ weights: [seen], positions, length, index }, { layer, row }) => {
      if (layer !== 0) return undefined;
      if (row === 0 && index === 0) shown.push(new Map());
      for (let j = 0; j < length; j++) shown.at(-1)!.set(`${row} ${index} ${positions[j]}`, seen[j]);
      return undefined;
    },
  });
}

const tokens = (count: number, from: number) => Array.from({ length: count }, (_, t) => (7 * (t + from) + 1) % 50);

async function watch(model: LanguageModel, need: Need, steps: readonly (readonly number[])[][], more: object = {}) {
  const shown: Shown = [];
  const cache = model.createCache({ policy: watching(need, shown), cacheLength: 64, batch: steps[0].length, ...more });
  // Where the rotation depends on the length, it is the same in all steps.
  const lengths = steps[0].map(() => 17);
  for (const chunk of steps) await model.step(cache, chunk, { logits: 'none', lengths });
  return shown.at(-1)!;
}

describe('the echo of a chunk is what it pays when it is read once more', () => {
  let compared = 0;

  it.each(READABLE)('%s', async (family) => {
    await using model = await loadModel(join(FAMILIES, family), { weights: 'float32', cacheDir, threads: 1 });
    const [start, chunk, other] = [tokens(5, 0), tokens(6, 5), tokens(3, 20)];
    const echo = await watch(model, 'echo', [[start], [chunk]]);
    // The first layer makes the same keys and queries of the same tokens, so a second reading is the definition.
    const again = await watch(model, 'max', [[start], [chunk], [chunk]]);
    for (const [key, weight] of echo) {
      const [, , position] = key.split(' ').map(Number);
      expect(position).toBeLessThan(11);
      if (again.has(key)) expect(Math.abs(again.get(key)! - weight), key).toBeLessThan(1e-5);
      compared++;
    }
    expect(Math.max(...echo.values())).toBeGreaterThan(0);
    // A row of a batch has the echo that it has alone, whatever the others are long.
    const rows = await watch(model, 'echo', [
      [start, start],
      [chunk, other],
    ]);
    const alone = await watch(model, 'echo', [[start], [other]]);
    for (const [key, weight] of echo) expect(Math.abs(rows.get(key)! - weight)).toBeLessThan(1e-5);
    for (const [key, weight] of alone) expect(Math.abs(rows.get(key.replace(/^0/, '1'))! - weight)).toBeLessThan(1e-5);
    // A token that comes alone has none, beside others or not.
    const single = await watch(model, 'echo', [[start], [tokens(1, 9)]]);
    expect([...single.values()].every((weight) => weight === 0)).toBe(true);
    const beside = await watch(model, 'echo', [
      [start, start],
      [chunk, tokens(1, 9)],
    ]);
    for (const [key, weight] of beside) if (key.startsWith('1')) expect(weight).toBe(0);
  });

  it('covers families', () => {
    expect(READABLE.length).toBeGreaterThan(50);
    expect(compared).toBeGreaterThan(500);
  });
});
