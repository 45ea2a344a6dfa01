/**
 * @file Models to begin with: small, without a licence to accept, and trained on conversations.
 */
import { bytes } from '../output/format.ts';

/** A model of the hub. Sizes are in bytes; memory is the estimate for 4,096 tokens with int8 weights. */
export interface SuggestedModel {
  readonly name: string;
  readonly download: number;
  readonly memory: number;
}

export const SUGGESTED_MODELS: readonly SuggestedModel[] = [
  { name: 'HuggingFaceTB/SmolLM2-360M-Instruct', download: 0.73e9, memory: 1.5e9 },
  { name: 'Qwen/Qwen3-0.6B', download: 1.52e9, memory: 2.8e9 },
  { name: 'Qwen/Qwen3-1.7B', download: 4.08e9, memory: 4.6e9 },
];

/** One line a model: the command to copy, then its sizes. */
export function suggestionLines(): string[] {
  const commands = SUGGESTED_MODELS.map(({ name }) => `keyhold chat ${name}`);
  const width = Math.max(...commands.map((line) => line.length));
  return SUGGESTED_MODELS.map(
    ({ download, memory }, i) =>
      `${commands[i].padEnd(width)}  # downloads ${bytes(download)}, takes ${bytes(memory)} of memory`,
  );
}
