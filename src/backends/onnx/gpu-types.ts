/**
 * @file What of WebGPU is used; lib.dom.d.ts does not know it.
 */

/** A graphics card, as a page has it. */
export interface GpuDevice {
  /** Settles when the device is gone, and never fails. */
  readonly lost: Promise<{ readonly reason: string; readonly message: string }>;
  readonly queue: {
    writeBuffer(buffer: GpuBuffer, at: number, data: ArrayBufferLike, start: number, bytes: number): void;
  };
  createBuffer(request: { readonly size: number; readonly usage: number }): GpuBuffer;
  destroy(): void;
}

export interface GpuBuffer {
  readonly size: number;
  destroy(): void;
}
