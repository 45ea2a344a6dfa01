/**
 * @file The table of families. A new family is one row here, and its data beside.
 */
import { cohere, cohere2 } from './cohere.ts';
import { idefics, mllama } from './cross.ts';
import { clvpDecoder, clvpEncoder, esm, mimi, pixtral } from './encoders.ts';
import type { Family } from './family.ts';
import { gemma, gemma2, gemma3 } from './gemma.ts';
import { gptNeox, gptNeoxJapanese, persimmon } from './gpt-neox.ts';
import { bloom, codegen, falcon, gpt2, gptj, opt } from './gpt2.ts';
import { recurrentGemma } from './griffin.ts';
import { chameleon, glm, granite, llama, mistral, moshi, phi3, qwen2, qwen2Vl, qwen3 } from './llama.ts';
import { aria, dbrx, graniteMoe, jetmoe, mixtral, phimoe, qwen2Moe, qwen3Moe } from './moe.ts';
import { olmo, olmo2, olmoe } from './olmo.ts';
import { nemotron, phi, stablelm, starcoder2 } from './phi.ts';

export const FAMILIES: readonly Family[] = [
  ...[llama, mistral, qwen2, qwen3, phi3, glm, granite, moshi, chameleon, qwen2Vl],
  ...[gemma, gemma2, gemma3, recurrentGemma],
  ...[gptNeox, gptNeoxJapanese, persimmon],
  ...[gpt2, gptj, codegen, opt, bloom, falcon],
  ...[phi, stablelm, starcoder2, nemotron],
  ...[cohere, cohere2],
  ...[olmo, olmo2, olmoe],
  ...[mllama, idefics],
  ...[esm, pixtral, mimi, clvpEncoder, clvpDecoder],
  ...[mixtral, phimoe, qwen2Moe, qwen3Moe, graniteMoe, aria, dbrx, jetmoe],
];
