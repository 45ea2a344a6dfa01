/**
 * @file The table of families. A new family is one row here, and its data beside.
 */
import type { Family } from './family.ts';
import { gemma, gemma2, gemma3 } from './gemma.ts';
import { gptNeox } from './gpt-neox.ts';
import { llama, mistral, phi3, qwen2, qwen3 } from './llama.ts';

export const FAMILIES: readonly Family[] = [llama, mistral, qwen2, qwen3, gemma, gemma2, gemma3, gptNeox, phi3];
