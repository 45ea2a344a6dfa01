/**
 * @file ggml as the other files of this folder see it: its functions, devices and buffers.
 */
import type * as Koffi from 'koffi';
import type { BASE_FUNCTIONS, Calls, CPU_FUNCTIONS, Pointer, REGISTRY_FUNCTIONS } from './functions.ts';
import type { LibraryFiles } from './platform.ts';

export type KoffiModule = typeof Koffi;

/** ggml, open. One for a process. */
export interface Ggml
  extends Calls<typeof BASE_FUNCTIONS>,
    Calls<typeof REGISTRY_FUNCTIONS>,
    Calls<typeof CPU_FUNCTIONS> {
  readonly files: LibraryFiles;
  /** The CPU device. */
  readonly cpu: Pointer;
  /** Buffer types that rearrange weights for this processor, the fastest first. */
  readonly fastBuffers: readonly { readonly type: Pointer; readonly name: string }[];
  /** A buffer over all memory of the process: what tensors over typed arrays and mapped files are placed in. */
  readonly hostBuffer: Pointer;
  /** Features of the processor that the libraries use, such as `AVX512_VNNI`. */
  readonly features: readonly string[];
  /** The address of a typed array's memory, which has to be kept referenced. */
  addressOf(array: ArrayBufferView): bigint;
  /** The address of an exported function. */
  symbol(name: string): Pointer;
  /** Runs `graph` on another thread; the event loop goes on. @returns ggml's status. */
  compute(backend: Pointer, graph: Pointer): Promise<number>;
  /** The same for a graph that several devices share. */
  computeScheduled(scheduler: Pointer, graph: Pointer): Promise<number>;
  /** `ggml_quantize_chunk` on another thread. */
  quantize(...args: Parameters<Ggml['ggml_quantize_chunk']>): Promise<void>;
  /** Copies `length` bytes at `address` into a tensor on another thread. */
  setTensor(tensor: Pointer, address: bigint, length: number): Promise<void>;
  readonly koffi: KoffiModule;
}
