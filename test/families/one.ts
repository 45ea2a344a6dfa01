/**
 * @file Runs the cases of one family by itself, and measures how often the quantized formats agree with float32. Its
 * last line of output is the report, as JSON.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { EncoderModel } from '../../src/embed/encoder-model.ts';
import type { LanguageModel } from '../../src/node.ts';
import type { WeightFormat } from '../../src/weights/types.ts';
import { argmax, type Golden, readGolden, rowsOf } from '../parity/case.ts';
import { encoderInput } from '../parity/encoder-case.ts';
import { loadCase } from '../parity/load-case.ts';
import { findCases, runCase } from '../parity/walk.ts';
import { familyCases } from './cases.ts';

export interface FamilyReport {
  readonly name: string;
  readonly passed: boolean;
  /** Names of the cases, and what was compared. */
  readonly cases: readonly { readonly name: string; readonly passed: boolean; readonly message: string }[];
  /** Largest error of a value. */
  readonly error: number;
  /** Share of tokens whose most likely next one is that of float32; null where nothing is predicted. */
  readonly agreement: Readonly<Record<'int8' | 'int4', number | null>>;
}

async function report(name: string, cacheDir: string): Promise<FamilyReport> {
  const found = familyCases().find((row) => row.name === name);
  if (!found) throw new Error(`there is no family ${name}`);
  const cases: FamilyReport['cases'][number][] = [];
  let error = 0;
  const hits = { int8: 0, int4: 0 };
  let tokens = 0;
  for (const folder of found.cases) {
    const [one] = await findCases(folder);
    const result = await runCase(one, { cacheDir, models: [] });
    console.log(`${result.passed ? 'ok  ' : 'FAIL'} ${basename(folder)} ${result.error} ${result.message}`);
    cases.push({ name: basename(folder), passed: result.passed, message: result.message });
    error = Math.max(error, result.error ?? 0);
    const golden = await readGolden(join(folder, 'expected.safetensors'));
    const exact = await predictions(folder, golden, 'float32', cacheDir);
    for (const format of ['int8', 'int4'] as const) {
      const quantized = await predictions(folder, golden, format, cacheDir);
      const same = exact.filter((token, i) => token === quantized[i]).length;
      hits[format] += same;
      console.log(`     ${format} agrees on ${same} of ${exact.length} tokens`);
    }
    tokens += exact.length;
  }
  const share = (format: 'int8' | 'int4') => (tokens === 0 ? null : hits[format] / tokens);
  const passed = cases.length > 0 && cases.every((one) => one.passed);
  return { name, passed, cases, error, agreement: { int8: share('int8'), int4: share('int4') } };
}

/** The most likely token behind (or, in a masked language model, in the place of) each of the prompts'. */
async function predictions(
  folder: string,
  golden: Map<string, Golden>,
  weights: WeightFormat,
  cacheDir: string,
): Promise<number[]> {
  const ids = golden.get('input_ids') ?? golden.get('decoder/input_ids') ?? golden.get('text/input_ids');
  if (!ids) return [];
  await using model = await loadCase(folder, { weights, cacheDir });
  const { output, vocabSize } = model.config;
  if (output !== 'logits' && output !== 'masked-logits') return [];
  const logits =
    model instanceof EncoderModel
      ? (await model.encode(encoderInput(model, golden))).data
      : await allLogits(model, rowsOf(ids));
  return Array.from({ length: logits.length / vocabSize }, (_, i) =>
    argmax(logits, i * vocabSize, (i + 1) * vocabSize),
  );
}

async function allLogits(model: LanguageModel, prompts: number[][]): Promise<Float32Array> {
  const cache = model.createCache({ policy: 'dense', batch: prompts.length, cacheLength: 512 });
  return (await model.step(cache, prompts, { logits: 'all' })).logits;
}

const cacheDir = await mkdtemp(join(tmpdir(), 'keyhold-family-'));
try {
  console.log(JSON.stringify(await report(process.argv[2], cacheDir)));
} finally {
  await rm(cacheDir, { recursive: true, force: true });
}
