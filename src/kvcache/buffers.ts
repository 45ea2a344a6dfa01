/**
 * @file The table of storage formats. A new one is a file in buffers/ and an entry here.
 */
import { InputError } from '../util/errors.ts';
import { shown } from '../util/option-names.ts';
import { Float16Codec } from './buffers/float16.ts';
import { Float32Codec } from './buffers/float32.ts';
import { RotatedCodec } from './buffers/hadamard.ts';
import { keyScales, PlaneCodec, type SlotBits } from './buffers/planes.ts';
import { SlotBuffer } from './buffers/slot-buffer.ts';
import type { BlockFormat, CodecShape, SlotCodec } from './buffers/slot-codec.ts';
import type { SlotMemory } from './shape.ts';

/** How keys and values are stored. */
export type BufferKind = 'float32' | 'float16' | 'int8' | 'int5' | 'int4' | 'int8-plain' | 'int4-plain';

interface BufferEntry {
  readonly summary: string;
  /** Bits of a number, where numbers are whole and have scales. */
  readonly bits?: SlotBits;
  /** Whether vectors are multiplied by a Hadamard matrix before they are stored. */
  readonly rotates?: boolean;
  /** As arrays of numbers, and of scales. */
  readonly create: (shape: CodecShape, half: 'key' | 'value') => SlotCodec;
  /** What it is as blocks of ggml; where absent, there is one layout only. */
  readonly blocks?: BlockFormat;
}

const scalesOf = (size: number, half: 'key' | 'value'): number => (half === 'key' ? keyScales(size) : 1);

/** Whole numbers with scales. */
function wholeNumbers(bits: SlotBits, format: BlockFormat): Omit<BufferEntry, 'summary'> {
  return {
    bits,
    create: (shape, half) => {
      if (bits < 8 && shape.size % 2 !== 0)
        throw new InputError(
          `the cache buffer int${bits} needs an even head size, but this model's is ${shape.size}: use float16`,
        );
      return new PlaneCodec(shape, bits, scalesOf(shape.size, half));
    },
    blocks: format,
  };
}

const INT8 = wholeNumbers(8, 'q8_0');
const INT4 = wholeNumbers(4, 'q4_0');

/** The formats of keys and values by name. */
export const BUFFERS: Readonly<Record<BufferKind, BufferEntry>> = {
  float32: { summary: 'exact', create: (shape) => new Float32Codec(shape) },
  float16: { summary: 'half the memory', create: (shape) => new Float16Codec(shape) },
  int8: { summary: 'a quarter of the memory, and read as whole numbers', rotates: true, ...INT8 },
  int5: { summary: 'a sixth of the memory', rotates: true, ...wholeNumbers(5, 'q5_0') },
  int4: { summary: 'an eighth of the memory', rotates: true, ...INT4 },
  'int8-plain': { summary: 'int8 without a rotation', ...INT8 },
  'int4-plain': { summary: 'int4 without a rotation', ...INT4 },
};

/** One format for both, or one for keys and another for values. Keys are the more sensitive half. */
export type BufferChoice = BufferKind | { readonly keys: BufferKind; readonly values: BufferKind };

/** The formats of keys and values. */
export function buffersOf(choice: BufferChoice): { readonly keys: BufferKind; readonly values: BufferKind } {
  return typeof choice === 'object' && choice !== null ? choice : { keys: choice, values: choice };
}

/** The formats in words: `int8`, or `int8,int4` for keys and values. @throws InputError for a format that does not exist. */
export function bufferName(choice: BufferChoice): string {
  const { keys, values } = buffersOf(choice);
  entryOf(keys);
  entryOf(values);
  return keys === values ? keys : `${keys},${values}`;
}

/** The sizes of a layer's slots. */
export interface BufferShape {
  readonly groups: number;
  readonly keySize: number;
  readonly valueSize: number;
}

/**
 * @param feedbackOf of keys that are rotated, in 4 or 5 bits.
 * @throws InputError for a format that does not exist, or that does not fit the head size.
 */
export function createBuffer(
  choice: BufferChoice,
  batch: number,
  { groups, keySize, valueSize }: BufferShape,
  { blocks }: SlotMemory = {},
  feedbackOf?: CodecShape['feedbackOf'],
): SlotBuffer {
  const { keys, values } = buffersOf(choice);
  const codec = (kind: BufferKind, size: number, half: 'key' | 'value') => {
    const entry = entryOf(kind);
    const rounds = half === 'key' && entry.rotates && entry.bits! < 8;
    const shape = { batch, groups, size, ...(rounds && { feedbackOf }) };
    const codec = blocks && entry.blocks ? blocks(shape, entry.blocks) : entry.create(shape, half);
    return entry.rotates ? new RotatedCodec(codec) : codec;
  };
  return new SlotBuffer(codec(keys, keySize, 'key'), codec(values, valueSize, 'value'));
}

/** Whether an engine reads keys and values as blocks of numbers with a scale. */
export function holdsBlocks(choice: BufferChoice, { blocks }: SlotMemory = {}): boolean {
  return Boolean(blocks) && Object.values(buffersOf(choice)).every((kind) => BUFFERS[kind].blocks !== undefined);
}

function entryOf(kind: BufferKind): BufferEntry {
  if (!Object.hasOwn(BUFFERS, kind))
    throw new InputError(`there is no cache buffer ${shown(kind)}; there are ${Object.keys(BUFFERS).join(', ')}`);
  return BUFFERS[kind];
}
