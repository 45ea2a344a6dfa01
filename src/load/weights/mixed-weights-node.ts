/**
 * @file `int4` of the ggml engine: each matrix in the format with the smallest error that 5 bits a weight allow. Inputs
 * are measured and formats are chosen once for each checkpoint; both are kept beside the prepared weights.
 */
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Backend } from '../../backends/types.ts';
import { tensorType } from '../../checkpoint/gguf/blocks/block-formats.ts';
import type { Config } from '../../config/config.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import { toBase64 } from '../../util/base64.ts';
import { clearLeftOvers, unfinishedName, writeWhole } from '../../util/files/files-node.ts';
import { cacheFolder } from '../../util/files/home-node.ts';
import { narrow } from '../../util/half.ts';
import { product } from '../../util/numbers.ts';
import { sha256 } from '../../util/sha256.ts';
import { type GgmlFormat, isGgmlFormat, type MatrixInfo } from '../../weights/formats/ggml-formats.ts';
import { chooseMix, MIX_BITS, MIX_VERSION, type MixedMatrix, mixFormats } from '../../weights/formats/mix.ts';
import { hasPreparedWeights, openPreparedWeights } from '../../weights/prepared/store-node.ts';
import type { Param, RowSource } from '../../weights/types.ts';
import type { PrepareRequest } from '../model-plan.ts';
import { canMeasure, type InputMoments, measureMoments } from './input-moments.ts';

/** Rows of a matrix that its errors are measured with, in so many pieces. */
const SAMPLED_ROWS = 96;
const PIECES = 12;
/** What inputs are measured with. */
const MEASURING = 'int8';

export interface MixOptions {
  readonly request: PrepareRequest;
  readonly config: Config;
  readonly tokenizer: () => Promise<Tokenizer | null>;
  readonly backend: Backend;
  readonly threads?: number;
  readonly cacheDir?: string;
  readonly signal?: AbortSignal;
}

type MixRequest = Pick<PrepareRequest, 'specs' | 'identity'>;

/** What is kept of a checkpoint. */
interface Mix {
  readonly formats: Readonly<Record<string, GgmlFormat>>;
  /** Mean squares of inputs, as bytes of float32 in base64. */
  readonly moments: Readonly<Record<string, string>>;
}

/**
 * The parameters of a model in `int4`, each matrix with its format.
 * @throws what reading the checkpoint throws; the signal's reason.
 */
export async function mixedSpecs(options: MixOptions): Promise<readonly Param[]> {
  const { request, cacheDir } = options;
  const known = await knownMix(request, cacheDir);
  if (known) return known;
  const mix = await makeMix(options);
  await writeWhole(pathOf(request, cacheDir), `${JSON.stringify(mix)}\n`);
  return withFormats(request.specs, mix);
}

/** The same where a mix was made before; null: none was. */
export async function knownMix(request: MixRequest, cacheDir?: string): Promise<readonly Param[] | null> {
  const mix = await readMix(pathOf(request, cacheDir));
  return mix && withFormats(request.specs, mix);
}

function pathOf({ specs, identity }: MixRequest, cacheDir?: string): string {
  const key = sha256(JSON.stringify([MIX_VERSION, identity, specs.map(({ name, shape }) => [name, shape])]));
  return join(cacheFolder(cacheDir), 'mixes', `${key}.json`);
}

function withFormats(specs: readonly Param[], { formats, moments }: Mix): readonly Param[] {
  return specs.map((spec) => {
    const format = formats[spec.name];
    if (format === undefined) return spec;
    const kept = moments[spec.name];
    return { ...spec, format, ...(kept === undefined ? {} : { importance: floatsOf(kept) }) };
  });
}

/** null: there is none, or it is damaged. */
async function readMix(path: string): Promise<Mix | null> {
  try {
    const { formats, moments } = JSON.parse(await readFile(path, 'utf8')) as Mix;
    return Object.values(formats).every(isGgmlFormat) && typeof moments === 'object' ? { formats, moments } : null;
  } catch {
    return null;
  }
}

async function makeMix(options: MixOptions): Promise<Mix> {
  const { request, signal } = options;
  const moments = await momentsOf(options);
  const matrices: MixedMatrix[] = [];
  let bits = 0;
  for (const spec of request.specs) {
    const values = product(spec.shape);
    const info = infoOf(spec);
    if (!info || mixFormats(info).length === 0) {
      bits += (MIX_BITS - 32) * values;
      continue;
    }
    signal?.throwIfAborted();
    bits += MIX_BITS * values;
    const importance = moments.get(spec.name);
    const errors = await errorsOf(options.backend, { ...spec, importance }, request.source(spec), mixFormats(info));
    matrices.push({ name: spec.name, values, errors });
  }
  return {
    formats: Object.fromEntries(chooseMix(matrices, bits)),
    moments: Object.fromEntries([...moments].map(([name, values]) => [name, toBase64(narrow(values, 'F32'))])),
  };
}

function infoOf({ name, role, shape, format }: Param): MatrixInfo | null {
  return role === 'plain' || format === 'float32' ? null : { name, role, rows: shape[0], cols: shape[1] };
}

/** The mean squares of the inputs of each matrix; none where the model can't be measured. */
async function momentsOf(options: MixOptions): Promise<InputMoments> {
  const { request, config, backend, threads, signal } = options;
  const tokenizer = await options.tokenizer();
  if (!canMeasure(config, tokenizer)) return new Map();
  const base = cacheFolder(options.cacheDir);
  const specs = request.specs.map((spec) =>
    spec.format === 'int4' ? ({ ...spec, format: MEASURING } as const) : spec,
  );
  const prepare = { ...request, specs, format: MEASURING, codec: backend.codec, signal } as const;
  // 8 bits are needed for a moment: they are left behind only if they were there before.
  const isThere = await hasPreparedWeights({ ...prepare, cacheDir: base });
  const measured = join(base, 'measured');
  const cacheDir = isThere ? base : unfinishedName(measured);
  try {
    await clearLeftOvers(measured);
    const weights = await openPreparedWeights({ ...prepare, cacheDir });
    return await measureMoments({ config, tokenizer, backend, weights, format: MEASURING, threads, signal });
  } finally {
    if (!isThere) await rm(cacheDir, { recursive: true, force: true });
  }
}

/** For each format: the part of the matrix's energy, weighted by its inputs, that is an error. */
async function errorsOf(
  { codec }: Backend,
  spec: Param,
  source: RowSource,
  formats: readonly GgmlFormat[],
): Promise<ReadonlyMap<GgmlFormat, number>> {
  const { rows, cols } = source;
  const size = Math.min(rows, Math.ceil(SAMPLED_ROWS / PIECES));
  const pieces = Math.min(PIECES, Math.floor(rows / size));
  const errors = new Map(formats.map((format) => [format, 0]));
  let energy = 0;
  for (let i = 0; i < pieces; i++) {
    const values = await source.read(Math.floor((i * (rows - size)) / Math.max(1, pieces - 1)), size);
    energy += energyOf(values, null, cols, spec.importance);
    for (const format of formats) {
      const [bytes] = await codec.encode({ ...spec, format }, values, size, cols);
      const stored = new Float32Array(values.length);
      tensorType(format).dequantize(bytes, stored);
      errors.set(format, errors.get(format)! + energyOf(values, stored, cols, spec.importance));
    }
  }
  if (energy > 0) for (const [format, error] of errors) errors.set(format, error / energy);
  return errors;
}

/** Σ importance · (a - b)² */
function energyOf(a: Float32Array, b: Float32Array | null, cols: number, importance?: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (importance?.[i % cols] ?? 1) * (a[i] - (b?.[i] ?? 0)) ** 2;
  return sum;
}

function floatsOf(text: string): Float32Array {
  const bytes = Uint8Array.from(Buffer.from(text, 'base64'));
  return new Float32Array(bytes.buffer, 0, Math.floor(bytes.length / 4));
}
