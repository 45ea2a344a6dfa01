import { describe, expect, it } from 'vitest';
import { configJson } from '../../test/support/family-cases.ts';
import { ggmlBackend } from '../backends/ggml/ggml-backend.ts';
import { readConfig } from '../families/read-config.ts';
import { paramsOf } from '../load/model-plan.ts';
import { FURTHER } from './further.ts';

// Configs are traced as they are, without a plan.

/** The table with a vector of each token and layer: most of the bytes of Gemma 3n E2B and Gemma 4 E2B. */
describe('the table of vectors of layers', () => {
  it.each(['gemma3n', 'gemma4-e2b'])('of %s is kept quantized, as the embedding is', (name) => {
    // Widths as those of published models: whole blocks of 32.
    const { config } = readConfig({ ...configJson(name), hidden_size_per_layer_input: 32 });
    for (const [format, target] of [
      ['int8', ggmlBackend.target],
      ['int4', ggmlBackend.target],
      ['int8', undefined],
    ] as const) {
      const params = paramsOf({ config, format, parts: FURTHER }, target);
      const [table, embedding] = ['wte_layers.weight', 'wte.weight'].map((of) => params.find((p) => p.name === of)!);
      expect(table).toMatchObject({ role: 'embedding', shape: [97, 32 * config.nLayer] });
      expect(table.format).not.toBe('float32');
      expect(table.format).toBe(embedding.format);
    }
  });
});
