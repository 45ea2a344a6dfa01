/**
 * @file Writes a model as safetensors of plain floats: of GGUF, and of checkpoints that are quantized already.
 */
import { resolve } from 'node:path';
import type { Checkpoint, StoredTensor } from '../../checkpoint/types.ts';
import type { TensorToWrite } from '../../checkpoint/write-safetensors-node.ts';
import { InputError } from '../../util/errors.ts';
import { type FloatDtype, narrow } from '../../util/half.ts';
import { PIECE_VALUES, product } from '../../util/numbers.ts';
import { checkEmpty, writeCheckpointFolder } from '../checkpoint-folder-node.ts';
import { planModel } from '../plan.ts';

/** What {@link writePlain} can write. */
const DTYPES: Readonly<Record<string, FloatDtype>> = { f32: 'F32', f16: 'F16', bf16: 'BF16' };

export interface PlainOptions {
  /** `f32`, `f16` or `bf16`. @default 'f16' */
  readonly weights?: string;
  readonly part?: string;
  readonly onProgress?: (progress: { readonly bytes: number; readonly total: number }) => void;
  readonly signal?: AbortSignal;
}

/**
 * Writes a folder with config.json, tokenizer and safetensors, as Hugging Face's libraries have it. It appears whole or
 * not at all.
 * @param checkpoint stays open.
 * @param out a folder that is not there yet, or is empty.
 * @throws InputError for a format that safetensors do not hold, or where `out` holds something; CheckpointError for
 * damaged files; WeightsError where it can't be written; the signal's reason.
 */
export async function writePlain(
  checkpoint: Checkpoint,
  out: string,
  options: PlainOptions = {},
): Promise<{ folder: string; bytes: number; tensors: number }> {
  const { weights = 'f16', signal } = options;
  const dtype = Object.hasOwn(DTYPES, weights) ? DTYPES[weights] : undefined;
  if (!dtype)
    throw new InputError(
      `safetensors are written as ${Object.keys(DTYPES).join(', ')}; for ${weights} name a .gguf file`,
    );
  signal?.throwIfAborted();
  planModel(checkpoint, 'float32', options.part); // what can't be loaded is not worth writing
  const folder = resolve(out);
  await checkEmpty(folder, out);
  const tensors = [...checkpoint.tensors.values()].map((tensor) => toWrite(tensor, dtype));
  return writeCheckpointFolder(folder, {
    tensors,
    config: `${JSON.stringify(checkpoint.config, null, 2)}\n`,
    companions: { checkpoint, source: null },
    signal,
    onProgress: options.onProgress,
  });
}

function toWrite(tensor: StoredTensor, dtype: FloatDtype): TensorToWrite {
  const { name, shape } = tensor;
  const count = product(shape);
  return {
    name,
    dtype,
    shape,
    async *bytes() {
      for (let start = 0; start < count; start += PIECE_VALUES)
        yield narrow(await tensor.readFloats(start, Math.min(PIECE_VALUES, count - start)), dtype);
    },
  };
}
