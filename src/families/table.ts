/**
 * @file The table of families. A new family is one row here, and its data beside.
 */

import { arcee } from './arcee.ts';
import { gptBigcode } from './bigcode.ts';
import { biogpt } from './biogpt.ts';
import { cohere, cohere2 } from './cohere.ts';
import { idefics, mllama } from './cross.ts';
import { clvpDecoder, clvpEncoder, esm, mimi, pixtral } from './encoders.ts';
import { ernie45 } from './ernie.ts';
import { exaone4 } from './exaone.ts';
import type { Family } from './family.ts';
import { gemma, gemma2, gemma3, vaultGemma } from './gemma.ts';
import { gptNeo } from './gpt-neo.ts';
import { gptNeox, gptNeoxJapanese, persimmon } from './gpt-neox.ts';
import { bloom, codegen, falcon, gpt2, gptj, opt } from './gpt2.ts';
import { recurrentGemma } from './griffin.ts';
import {
  chameleon,
  cwm,
  glm,
  glm4,
  granite,
  graniteHybrid,
  helium,
  llama,
  mistral,
  moshi,
  phi3,
  qwen2,
  qwen2Vl,
  qwen3,
  qwen3Vl,
} from './llama.ts';
import { aria, dbrx, graniteMoe, jetmoe, mixtral, phimoe, qwen2Moe, qwen3Moe } from './moe.ts';
import { mpt } from './mpt.ts';
import { nanochat } from './nanochat.ts';
import { olmo, olmo2, olmo3, olmoe } from './olmo.ts';
import { nemotron, phi, stablelm, starcoder2 } from './phi.ts';
import { seedOss } from './seed.ts';
import { smollm3 } from './smollm.ts';
import { xglm } from './xglm.ts';

export const FAMILIES: readonly Family[] = [
  ...[llama, mistral, qwen2, qwen3, phi3, glm, granite, moshi, chameleon, qwen2Vl],
  ...[gemma, gemma2, gemma3, vaultGemma, recurrentGemma],
  ...[gptNeox, gptNeoxJapanese, persimmon],
  ...[gpt2, gptj, codegen, opt, bloom, falcon],
  ...[phi, stablelm, starcoder2, nemotron],
  ...[cohere, cohere2],
  ...[olmo, olmo2, olmo3, olmoe],
  ...[mllama, idefics],
  ...[esm, pixtral, mimi, clvpEncoder, clvpDecoder],
  ...[mixtral, phimoe, qwen2Moe, qwen3Moe, graniteMoe, aria, dbrx, jetmoe],
  ...[smollm3, glm4, ernie45, exaone4, seedOss, arcee, cwm, helium, qwen3Vl, graniteHybrid],
  ...[gptBigcode, gptNeo, mpt, biogpt, xglm, nanochat],
];
