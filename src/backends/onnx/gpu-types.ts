/**
 * @file What of WebGPU is used; lib.dom.d.ts does not know it.
 */

/** A graphics card, as a page has it. */
export interface GpuDevice {
  /** Settles when the device is gone, and never fails. */
  readonly lost: Promise<{ readonly reason: string; readonly message: string }>;
  readonly queue: {
    writeBuffer(buffer: GpuBuffer, at: number, data: ArrayBufferLike, start: number, bytes: number): void;
    submit(commands: readonly unknown[]): void;
  };
  createBuffer(request: { readonly size: number; readonly usage: number }): GpuBuffer;
  createCommandEncoder(): {
    copyBufferToBuffer(from: GpuBuffer, start: number, to: GpuBuffer, at: number, bytes: number): void;
    finish(): unknown;
  };
  destroy(): void;
}

export interface GpuBuffer {
  readonly size: number;
  mapAsync(mode: number): Promise<void>;
  getMappedRange(): ArrayBuffer;
  unmap(): void;
  destroy(): void;
}

/** GPUBufferUsage: what operators use is STORAGE, COPY_DST and COPY_SRC. */
export const BUFFER_USAGE = { mapRead: 0x01, copyTarget: 0x08, operators: 0x80 | 0x08 | 0x04 } as const;
/** GPUMapMode */
export const MAP_MODE = { read: 0x01 } as const;

/** Sizes of buffers are multiples of it. */
const ALIGNMENT = 16;
export const bufferSize = (bytes: number): number => Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
