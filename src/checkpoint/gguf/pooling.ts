/**
 * @file How an encoder's states become one vector, as the metadata say: given as the files of sentence-transformers.
 */
import type { Metadata } from './metadata.ts';

/** By llama.cpp's numbers. 0 is none, 4 ranks. */
const MODES: Readonly<Record<number, string>> = { 1: 'mean', 2: 'cls', 3: 'lasttoken' };

/** The content of modules.json, or of the pooling module's config.json; undefined where the file says nothing. */
export function poolingFile(metadata: Metadata, name: string): object | undefined {
  const mode = MODES[metadata.intOrNull('pooling_type') ?? 0];
  if (mode === undefined) return undefined;
  if (name === '1_Pooling/config.json') return { pooling_mode: mode };
  if (name !== 'modules.json') return undefined;
  // llama.cpp gives vectors of length 1.
  return [
    { path: '', type: 'sentence_transformers.models.Transformer' },
    { path: '1_Pooling', type: 'sentence_transformers.models.Pooling' },
    { path: '2_Normalize', type: 'sentence_transformers.models.Normalize' },
  ];
}
