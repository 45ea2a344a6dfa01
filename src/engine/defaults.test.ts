import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { generationDefaults } from './defaults.ts';

describe('generationDefaults', () => {
  it('reads the small model’s file', async () => {
    const path = join(import.meta.dirname, '../../models/tiny/generation_config.json');
    const json = JSON.parse(await readFile(path, 'utf8')) as Record<string, unknown>;
    expect(generationDefaults(json)).toEqual({ temperature: 0.8, topP: 0.95, eosTokenIds: [1] });
  });

  it('samples only where do_sample says so', () => {
    expect(generationDefaults({ temperature: 0.7, top_k: 20 })).toEqual({});
    expect(generationDefaults({ do_sample: false, temperature: 0.7 })).toEqual({});
    expect(generationDefaults({ do_sample: true })).toEqual({ temperature: 1 });
  });

  it('takes all that generate knows', () => {
    const json = {
      do_sample: true,
      temperature: 0.6,
      top_k: 20,
      top_p: 0.95,
      min_p: 0.05,
      repetition_penalty: 1.1,
      eos_token_id: [7, 9],
    };
    expect(generationDefaults(json)).toEqual({
      temperature: 0.6,
      topK: 20,
      topP: 0.95,
      minP: 0.05,
      repetitionPenalty: 1.1,
      eosTokenIds: [7, 9],
    });
  });

  it('leaves out neutral values and what makes no sense', () => {
    const json = { do_sample: true, temperature: 'hot', top_k: -1, top_p: 1, min_p: null, repetition_penalty: 0 };
    expect(generationDefaults({ ...json, eos_token_id: ['</s>', null] })).toEqual({ temperature: 1 });
  });

  it('gives no key that would cover up another value', () => {
    expect({ topK: 5, ...generationDefaults({}) }).toEqual({ topK: 5 });
  });
});
