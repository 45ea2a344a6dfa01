/**
 * @file What other modules read of a checkpoint: named tensors that can be read in parts.
 */
import type { StoredDtype } from '../util/dtypes.ts';
import type { ByteRange } from '../util/sample.ts';

export type { StoredDtype };

/** Where the bytes of a tensor are in its file. */
export interface TensorRange extends ByteRange {
  /** As the file calls it. */
  readonly name: string;
}

/** Random access to bytes: a file, a Blob, a URL with ranges. */
export interface ByteSource {
  /** Where the bytes come from, for messages. */
  readonly name: string;
  /** Length in bytes. */
  readonly size: number;
  /**
   * Where known, says which state of the bytes this is: full path and modification time. Part of a checkpoint's
   * identity.
   */
  readonly stamp?: string;
  /** Where it is on the disk; absent where the bytes are elsewhere. */
  readonly path?: string;
  /**
   * Each read is a request to a server, so no samples of tensors are read: the header alone says what it is.
   * @default false
   */
  readonly isRemote?: boolean;
  /**
   * Reads exactly `length` bytes at `offset`.
   * @param into memory of that length, which a source may use. @default new memory
   * @throws CheckpointError where there are fewer.
   */
  read(offset: number, length: number, into?: Uint8Array): Promise<Uint8Array>;
  /**
   * As `read`, for a source that is read while it is downloaded: the bytes are given when they come, and are not asked
   * for.
   */
  readPassing?(offset: number, length: number): Promise<Uint8Array>;
  /** Told where the tensors are, when the header has been read. */
  onTensors?(ranges: readonly TensorRange[]): void;
  /** Closes the file. */
  close(): Promise<void>;
}

/** Names of ggml's block formats, as in a file: see `src/checkpoint/gguf/blocks/block-formats.ts`. */
export type BlockFormat =
  | 'q4_0'
  | 'q4_1'
  | 'q5_0'
  | 'q5_1'
  | 'q8_0'
  | 'q2_k'
  | 'q3_k'
  | 'q4_k'
  | 'q5_k'
  | 'q6_k'
  | 'q8_k'
  | 'iq1_s'
  | 'iq1_m'
  | 'iq2_xxs'
  | 'iq2_xs'
  | 'iq2_s'
  | 'iq3_xxs'
  | 'iq3_s'
  | 'iq4_nl'
  | 'iq4_xs'
  | 'tq1_0'
  | 'tq2_0'
  | 'mxfp4'
  | 'nvfp4';

/** The rows of a matrix as a GGUF file stores them: each row is a whole number of blocks. */
export interface BlockRows {
  /** `f32`, `f16` and `bf16` have blocks of one value. */
  readonly format: BlockFormat | 'f32' | 'f16' | 'bf16';
  /** Bytes of one row. */
  readonly rowBytes: number;
  /**
   * The bytes of rows `start … start + count`.
   * @param into memory of their length, which may be used. @default new memory
   */
  read(start: number, count: number, into?: Uint8Array): Promise<Uint8Array>;
  /** Where the first row is, if all rows lie behind each other in a file on the disk: for mapping it. */
  readonly location?: { readonly path: string; readonly offset: number };
}

/** One tensor of a checkpoint. */
export interface StoredTensor {
  readonly name: string;
  readonly dtype: StoredDtype;
  readonly shape: readonly number[];
  /** Elements from `start`, `count` of them (in row-major order), widened to float32. */
  readFloats(start: number, count: number): Promise<Float32Array>;
  /** The same elements as they are stored, where they are stored. */
  readBytes?(start: number, count: number): Promise<Uint8Array>;
  /** How a tensor is stored that {@link dtype} has no name for, such as `q4_k` or `gptq 4 bit`. @default dtype */
  readonly format?: string;
  /** The same values as ggml's blocks; their rows are those of the matrix of the last axis. */
  readonly blocks?: BlockRows;
  /** It changes nothing, and may be left over. @default false */
  readonly isNeutral?: boolean;
  /** The same matrix with rows and columns exchanged, where that is how the file stores it. */
  readonly transposed?: StoredTensor;
}

/** A checkpoint as it lies on disk (or behind URLs): its settings and its tensors. */
export interface Checkpoint {
  /** Folder, file or hub id, for messages. */
  readonly name: string;
  /** Parsed config.json; not yet checked for anything but being an object. */
  readonly config: Record<string, unknown>;
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** What a user should know about how the weights are stored, e.g. what quantizing them anew costs. */
  readonly note?: string;
  /**
   * Says which bytes these are (path, size, mtime, hash of the headers, samples of every tensor): prepared weights made
   * of them are found by it.
   */
  readonly identity: string;
  /**
   * Says what is in it, wherever it lies: a hash of config.json, the headers, and samples of the weights. Copies of a
   * checkpoint have the same; a fine-tuned model has another than its base.
   */
  fingerprint(): Promise<string>;
  /** Another file beside the weights, parsed: tokenizer.json, tokenizer_config.json, generation_config.json. */
  readJson(file: string): Promise<Record<string, unknown> | undefined>;
  /** Another file beside the weights as text, e.g. chat_template.jinja; undefined where there is none. */
  readText(file: string): Promise<string | undefined>;
  /**
   * Another file beside the weights as bytes; undefined where there is none. Absent where the checkpoint is one file.
   * The caller closes it.
   */
  openFile?(file: string): Promise<ByteSource | undefined>;
  /** Closes the files. A second call does nothing. */
  close(): Promise<void>;
}
