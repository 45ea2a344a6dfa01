/**
 * @file Copies of a cache's slots in the memory of a GPU. The cache in the memory of JavaScript is what counts; a step
 * copies only what was written since the last one.
 */
import type { StepTensor } from '../types.ts';
import { BUFFER_USAGE, bufferSize, type GpuBuffer, type GpuDevice } from './gpu-types.ts';

const FLOAT_BYTES = Float32Array.BYTES_PER_ELEMENT;

type Slots = NonNullable<StepTensor['slots']>;

/** The copies on one device. All graphs share them, for a log of changes has one reader. */
export class Replicas {
  readonly #device: GpuDevice;
  readonly #buffers = new WeakMap<Slots, GpuBuffer>();
  /** Caches are left to the garbage collector, which does not see the memory of a GPU. */
  readonly #forgotten = new FinalizationRegistry<GpuBuffer>((buffer) => buffer.destroy());
  /** Bytes that were copied to the GPU so far. */
  copied = 0;

  constructor(device: GpuDevice) {
    this.#device = device;
  }

  /** The copy of slots in float32, up to date; null for other formats. */
  update({ data, slots }: StepTensor): GpuBuffer | null {
    if (!slots || !(data instanceof Float32Array)) return null;
    const log = slots.watch();
    let buffer = this.#buffers.get(slots);
    if (!buffer || buffer.size < data.byteLength) {
      if (buffer) {
        this.#forgotten.unregister(buffer);
        buffer.destroy();
      }
      buffer = this.#device.createBuffer({ size: bufferSize(data.byteLength), usage: BUFFER_USAGE.operators });
      this.#buffers.set(slots, buffer);
      this.#forgotten.register(slots, buffer, buffer);
      log.addAll();
    }
    for (const [start, end] of log.take(data.length)) {
      const bytes = (end - start) * FLOAT_BYTES;
      this.#device.queue.writeBuffer(
        buffer,
        start * FLOAT_BYTES,
        data.buffer,
        data.byteOffset + start * FLOAT_BYTES,
        bytes,
      );
      this.copied += bytes;
    }
    return buffer;
  }
}
