/**
 * @file What is written beside prepared weights: from which checkpoint and for which codec they were made, and samples
 * of every tensor.
 */
import { hashSamples } from '../../util/sample.ts';
import { sha256 } from '../../util/sha256.ts';
import { scaledBlocks, type WeightCodec } from '../codec.ts';
import type { ParamSpec, WeightFormat } from '../types.ts';
import { layOut, type WeightLayout } from './layout.ts';

/** What must be equal for prepared weights to be used again. */
export interface WeightsOrigin {
  readonly specs: readonly ParamSpec[];
  readonly format: WeightFormat;
  /** Says which checkpoint it is. */
  readonly identity: string;
  /** @default scaledBlocks */
  readonly codec?: WeightCodec;
}

/** Reads bytes of the weights. */
export type ReadWeights = (offset: number, length: number) => Promise<Uint8Array>;

/** Says what the weights of a checkpoint are in a format, and whether a file holds them. */
export class WeightsManifest {
  /** A name for the weights. */
  readonly key: string;
  /** Where each parameter lies in them. */
  readonly layout: WeightLayout;
  readonly #description: string;

  constructor({ specs, format, identity, codec = scaledBlocks }: WeightsOrigin) {
    const layout = layOut(specs, codec);
    this.layout = layout;
    this.#description = JSON.stringify(
      {
        codec: codec.id,
        format,
        checkpoint: identity,
        size: layout.size,
        params: specs.map((spec) => {
          const orders = codec.parts(spec).map(({ layout }) => (layout === undefined ? '' : ` ${layout}`));
          return `${spec.name} ${spec.stored ?? spec.format} [${spec.shape}]${orders.join('')}`;
        }),
      },
      null,
      1,
    );
    this.key = sha256(this.#description).slice(0, 32);
  }

  /** The text of the manifest of weights that are complete. */
  async textOf(read: ReadWeights): Promise<string> {
    const samples = await hashSamples({ read }, [...this.layout.params.values()], true);
    return `${this.#description}\n${samples}\n`;
  }

  /** Whether weights of this size are those of the manifest's text, and complete. */
  async matches(text: string, size: number, read: ReadWeights): Promise<boolean> {
    if (!text.startsWith(`${this.#description}\n`) || size !== this.layout.size) return false;
    return text === (await this.textOf(read));
  }
}
