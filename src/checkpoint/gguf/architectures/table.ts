/**
 * @file The table of GGUF architectures that are run. A new one is one row here, and its data beside.
 */
import type { Architecture } from '../architecture.ts';
import { bloom, falcon, gpt2, gptneox, nemotron, phi2, starcoder2 } from './classic.ts';
import { gemma, gemma2, gemma3 } from './gemma.ts';
import { chatglm, cohere2, commandR, granite, olmo, olmo2, phi3, qwen2, qwen3, stablelm } from './llama.ts';
import { granitemoe, llama, olmoe, phimoe, qwen2moe, qwen3moe } from './moe.ts';

export const ARCHITECTURES: readonly Architecture[] = [
  ...[llama, qwen2, qwen3, phi3, chatglm, granite, olmo, olmo2, commandR, cohere2, stablelm],
  ...[gemma, gemma2, gemma3],
  ...[gpt2, gptneox, bloom, falcon, starcoder2, phi2, nemotron],
  ...[qwen2moe, qwen3moe, olmoe, phimoe, granitemoe],
];
