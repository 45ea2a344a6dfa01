/**
 * @file The table of storage formats. A new one is a file beside this one, and a row here.
 */
import { Float32Buffer } from './buffers/float32.ts';
import type { SlotBuffer } from './buffers/slot-buffer.ts';

interface BufferRow {
  readonly summary: string;
  readonly create: (batch: number, groups: number, headSize: number) => SlotBuffer;
}

export const BUFFERS = {
  float32: { summary: 'exact', create: (batch, groups, headSize) => new Float32Buffer(batch, groups, headSize) },
} satisfies Record<string, BufferRow>;

export type BufferKind = keyof typeof BUFFERS;
