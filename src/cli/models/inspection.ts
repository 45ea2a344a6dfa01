/**
 * @file What can be known about a model without loading it.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { plainConfig } from '../../checkpoint/quantized/plain-config.ts';
import { keptLatest } from '../../engine/calibration/calibrations.ts';
import {
  type Checkpoint,
  type Config,
  type MemoryPlan,
  type MemoryPlanOptions,
  planMemory,
  planModel,
  readConfig,
  type StoredTensor,
} from '../../exports/checkpoint-node.ts';
import { hubGguf } from '../../hub/names.ts';
import { type CalibrationTable, CheckpointError, HubError } from '../../index.ts';
import type { LoadOptions } from '../../node.ts';
import { parseJsonObject } from '../../util/json/json.ts';
import { product } from '../../util/numbers.ts';
import { asUsage } from '../input/options.ts';

export interface Inspection {
  readonly model: string;
  readonly config: Config;
  readonly plan: MemoryPlan;
  /** null where only config.json is at hand: the weights were not downloaded. */
  readonly tensors: readonly TensorFacts[] | null;
  readonly hasTokenizer: boolean | null;
  readonly generationConfig: Readonly<Record<string, unknown>> | null;
  /** The calibration that was made or used last; null: none is kept. */
  readonly calibration: CalibrationTable | null;
}

export interface TensorFacts {
  readonly name: string;
  /** How its values are stored, e.g. `F16` or `q4_k`. */
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly bytes: number;
}

const DTYPE_BYTES: Readonly<Record<StoredTensor['dtype'], number>> = {
  F64: 8,
  I64: 8,
  F32: 4,
  I32: 4,
  F16: 2,
  BF16: 2,
  F8_E4M3: 1,
  F8_E5M2: 1,
  F8_E8M0: 1,
  I16: 2,
  U32: 4,
  U16: 2,
  I8: 1,
  U8: 1,
  BOOL: 1,
};

function storedBytes({ dtype, shape, blocks, transposed }: StoredTensor): number {
  if (transposed) return storedBytes(transposed);
  const elements = product(shape);
  return blocks ? (elements / (shape.at(-1) ?? 1)) * blocks.rowBytes : DTYPE_BYTES[dtype] * elements;
}

/**
 * Looks at a model. Of one from the hub that was not downloaded yet, config.json alone is fetched, or the header of its
 * GGUF file.
 * @throws as openCheckpoint and planModel do.
 */
export async function inspectModel(model: string, load: LoadOptions, memory: MemoryPlanOptions): Promise<Inspection> {
  const { openCheckpoint } = await import('../../load/load-model-node.ts');
  let checkpoint: Checkpoint;
  try {
    // What is in the cache is looked at as it is; a path needs no hub.
    checkpoint = await openCheckpoint(model, { ...load, hub: { ...load.hub, offline: true } });
  } catch (error) {
    if (!(error instanceof HubError) || load.hub?.offline) throw error;
    return inspectOnHub(model, load, memory);
  }
  return inspectCheckpoint(model, checkpoint, memory);
}

/** Of a GGUF model the header is read, of others config.json. */
async function inspectOnHub(model: string, load: LoadOptions, memory: MemoryPlanOptions): Promise<Inspection> {
  const { withRemoteGguf } = await import('../../hub/remote-node.ts');
  const { checkpointFromFiles } = await import('../../checkpoint/open.ts');
  const inspectGguf = () =>
    withRemoteGguf(model, { ...load.hub, signal: load.signal }, async ({ files, file }) =>
      inspectCheckpoint(model, await checkpointFromFiles(files, file), memory),
    );
  if (hubGguf(model)) return (await inspectGguf())!;
  try {
    return await inspectConfig(model, load, memory);
  } catch (error) {
    // It may hold GGUF models alone.
    const found = error instanceof HubError && error.status === 404 ? await inspectGguf().catch(() => null) : null;
    if (found) return found;
    throw error;
  }
}

async function inspectCheckpoint(
  model: string,
  checkpoint: Checkpoint,
  memory: MemoryPlanOptions,
): Promise<Inspection> {
  try {
    // Also says whether the tensors are those that the config asks for.
    const { config } = planModel(checkpoint);
    const hasTokenizer = (await checkpoint.readJson('tokenizer.json')) !== undefined;
    return {
      model,
      config,
      plan: asUsage(() => planMemory(config, { tokenizer: hasTokenizer, checkpoint, ...memory })),
      tensors: [...checkpoint.tensors.values()].map((tensor) => ({
        name: tensor.name,
        dtype: tensor.format ?? tensor.dtype,
        shape: tensor.shape,
        bytes: storedBytes(tensor),
      })),
      hasTokenizer,
      generationConfig: (await checkpoint.readJson('generation_config.json')) ?? null,
      calibration: await keptCalibration(await checkpoint.fingerprint()),
    };
  } finally {
    await checkpoint.close();
  }
}

async function inspectConfig(model: string, load: LoadOptions, memory: MemoryPlanOptions): Promise<Inspection> {
  const { locateModel } = await import('../../load/locate-node.ts');
  const folder = await locateModel(model, { ...load, hub: { ...load.hub, files: ['config.json'] } });
  const where = `${model}: config.json`;
  const json = parseJsonObject(await readFile(join(folder, 'config.json'), 'utf8'), where, CheckpointError);
  const { config } = readConfig(plainConfig(json), where);
  const plan = asUsage(() => planMemory(config, memory));
  return { model, config, plan, tensors: null, hasTokenizer: null, generationConfig: null, calibration: null };
}

async function keptCalibration(checkpoint: string): Promise<CalibrationTable | null> {
  const { calibrationFolder } = await import('../../load/calibration-folder-node.ts');
  return keptLatest(calibrationFolder(), checkpoint);
}
