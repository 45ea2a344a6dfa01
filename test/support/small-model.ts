/**
 * @file What tests of the engine do with the small model of the case `llama`: two layers, 97 tokens, no tokenizer.
 */
import { vi } from 'vitest';
import type { LanguageModel } from '../../src/engine/language-model.ts';

/** Any number of tokens that the small model has. */
export const ids = (length: number, from = 0): number[] => Array.from({ length }, (_, i) => 3 + ((from + i * 37) % 94));

/** The lengths of the chunks of each step [rows], until mocks are restored. */
export function watchSteps(model: LanguageModel): number[][] {
  const steps: number[][] = [];
  const step = model.step.bind(model);
  vi.spyOn(model, 'step').mockImplementation((cache, chunk, options) => {
    steps.push(chunk.map((row) => row.length));
    return step(cache, chunk, options);
  });
  return steps;
}
