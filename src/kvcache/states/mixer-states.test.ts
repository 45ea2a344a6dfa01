/**
 * Random histories of caches with states: rows of different lengths, forks, snapshots, chunks that are taken back, rows
 * that are copied. In the end each row must give the logits of a cache that read its tokens alone.
 */
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { caseFolder } from '../../../test/support/family-cases.ts';
import { tempFolder } from '../../../test/support/temp-folder.ts';
import { type LanguageModel, loadModel } from '../../node.ts';
import { range } from '../../util/numbers.ts';
import type { KVCache } from '../kv-cache.ts';

const cacheDir = await tempFolder('mixer-states');
const models: LanguageModel[] = [];
afterAll(async () => {
  for (const model of models) await model.dispose();
});

const ROWS = 3;

type Command =
  | { readonly do: 'step'; readonly lengths: readonly number[]; readonly seed: number; readonly eachQuery: boolean }
  | { readonly do: 'back'; readonly row: number; readonly part: number }
  | { readonly do: 'fork'; readonly continueFork: boolean; readonly seed: number }
  | { readonly do: 'snapshot' }
  | { readonly do: 'copy'; readonly from: number; readonly to: number }
  | { readonly do: 'clear'; readonly row: number };

const row = fc.nat(ROWS - 1);
const seed = fc.nat(1000);
const step = fc.record({
  do: fc.constant('step' as const),
  lengths: fc.array(fc.nat(9), { minLength: ROWS, maxLength: ROWS }),
  seed,
  eachQuery: fc.boolean(),
});
const history: fc.Arbitrary<Command[]> = fc.array(
  fc.oneof(
    { weight: 4, arbitrary: step },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('back' as const), row, part: fc.nat(9) }) },
    fc.record({ do: fc.constant('fork' as const), continueFork: fc.boolean(), seed }),
    fc.record({ do: fc.constant('snapshot' as const) }),
    fc.record({ do: fc.constant('copy' as const), from: row, to: row }),
    fc.record({ do: fc.constant('clear' as const), row }),
  ),
  { minLength: 3, maxLength: 10 },
);

/** Below the smallest vocabulary of the cases (97). */
const token = (seed: number, i: number): number => 5 + ((seed * 31 + i * 17 + i * i * 7) % 89);

/** What is known of the last chunk: where each row began, and whether states after each of its tokens are kept. */
interface LastChunk {
  readonly starts: readonly (number | null)[];
  readonly eachQuery: boolean;
}

/** Applies a history. @returns the cache, and the tokens that each row must hold. */
async function play(model: LanguageModel, commands: readonly Command[]): Promise<{ cache: KVCache; rows: number[][] }> {
  let cache = model.createCache({ batch: ROWS });
  const rows: number[][] = range(ROWS).map(() => []);
  let last: LastChunk = { starts: rows.map(() => null), eachQuery: false };
  const forget = () => {
    last = { starts: rows.map(() => null), eachQuery: false };
  };
  const chunks = (lengths: readonly number[], from: number) =>
    lengths.map((length, r) => range(length).map((i) => token(from + r, rows[r].length + i)));
  for (const command of commands)
    switch (command.do) {
      case 'step': {
        const lengths = command.lengths.every((length) => length === 0) ? [1, 0, 2] : command.lengths;
        const added = chunks(lengths, command.seed);
        await model.step(cache, added, { logits: 'none', eachQuery: command.eachQuery });
        last = {
          starts: added.map((chunk, r) => (chunk.length ? rows[r].length : null)),
          eachQuery: command.eachQuery,
        };
        for (const [r, chunk] of added.entries()) rows[r].push(...chunk);
        break;
      }
      case 'back': {
        const start = last.starts[command.row];
        if (start === null) break;
        const length = last.eachQuery ? start + (command.part % (rows[command.row].length - start)) : start;
        cache.truncate(length, command.row);
        rows[command.row].length = length;
        last = { ...last, starts: last.starts.map((begin, r) => (r === command.row ? null : begin)) };
        break;
      }
      case 'fork': {
        // One of the two goes on; what it reads must leave no trace in the other.
        const other = cache.fork();
        const used = command.continueFork ? cache : other;
        await model.step(used, chunks([3, 1, 2], command.seed + 500), { logits: 'none' });
        if (command.continueFork) cache = other;
        forget();
        break;
      }
      case 'snapshot':
        cache = await model.restore(await model.snapshot(cache));
        forget();
        break;
      case 'copy':
        cache.copyRow(cache, command.from, command.to);
        rows[command.to] = [...rows[command.from]];
        forget();
        break;
      case 'clear':
        cache.clearRow(command.row);
        rows[command.row] = [];
        forget();
    }
  return { cache, rows };
}

describe.each(['qwen3_5', 'lfm2', 'mamba', 'mamba2', 'falcon_h1', 'jamba', 'recurrent_gemma', 'granitemoehybrid'])(
  'states of %s',
  (name) => {
    it('are those of the tokens of each row, whatever happened to the cache', async () => {
      const model = await loadModel(caseFolder(name), { weights: 'float32', cacheDir, threads: 1 });
      models.push(model);
      const { vocabSize: V } = model.config;
      const bytes = model.createCache({ batch: ROWS }).memory().states;
      expect(bytes).toBeGreaterThan(0);
      await fc.assert(
        fc.asyncProperty(history, async (commands) => {
          const { cache, rows } = await play(model, commands);
          // States have one size, however much was read.
          expect(cache.memory().states).toBe(bytes);
          const { logits } = await model.step(
            cache,
            rows.map((tokens) => [token(7, tokens.length)]),
          );
          for (const [r, tokens] of rows.entries()) {
            expect(cache.tokens(r)).toEqual([...tokens, token(7, tokens.length)]);
            const alone = model.createCache();
            const wanted = await model.prefill(alone, [...tokens, token(7, tokens.length)]);
            const worst = wanted.reduce((most, x, i) => Math.max(most, Math.abs(x - logits[r * V + i])), 0);
            expect(worst, `row ${r}`).toBeLessThan(1e-4);
            // Each state, too: an error there may show in logits only later.
            for (const [i, own] of alone.store.states.rowViews(0).entries()) {
              const state = cache.store.states.rowViews(r)[i];
              expect(Math.max(...own.map((x, j) => Math.abs(x - state[j]))), `state ${i} of row ${r}`).toBeLessThan(
                1e-4,
              );
            }
          }
        }),
        { numRuns: 12 },
      );
    });
  },
);
