/**
 * @file The table of GGUF architectures that are run. A new one is one row here, and its data beside.
 */
import type { Architecture } from '../architecture.ts';
import { bloom, falcon, gpt2, gptneox, nemotron, phi2, starcoder2 } from './classic.ts';
import { bert, modernBert, nomicBert } from './encoders.ts';
import { gemma, gemma2, gemma3 } from './gemma.ts';
import { gemma4 } from './gemma4.ts';
import { lfm2, lfm2moe, qwen35, qwen35moe } from './hybrid.ts';
import { deepseek2 } from './latent.ts';
import { chatglm, cohere2, commandR, granite, olmo, olmo2, phi3, qwen2, qwen3, stablelm } from './llama.ts';
import { jamba, mamba, mamba2 } from './mamba.ts';
import { dbrx, dots1, ernie45moe, glm4moe, minimaxM2, qwen3next } from './mixtures.ts';
import { gptOss, granitemoe, llama, olmoe, phimoe, qwen2moe, qwen3moe } from './moe.ts';
import { arcee, ernie45, exaone4, glm4, qwen3vl, seedOss, smollm3 } from './newer.ts';
import { apertus, hunyuanDense, hunyuanMoe, mistral3 } from './recent.ts';
import { falconH1, granitehybrid, nemotronH } from './state-hybrids.ts';

export const ARCHITECTURES: readonly Architecture[] = [
  ...[llama, qwen2, qwen3, phi3, chatglm, granite, olmo, olmo2, commandR, cohere2, stablelm],
  ...[arcee, smollm3, seedOss, glm4, ernie45, qwen3vl, exaone4],
  ...[gemma, gemma2, gemma3, gemma4],
  ...[gpt2, gptneox, bloom, falcon, starcoder2, phi2, nemotron],
  ...[qwen2moe, qwen3moe, olmoe, phimoe, granitemoe, gptOss],
  ...[lfm2, lfm2moe, qwen35, qwen35moe],
  ...[granitehybrid, nemotronH, falconH1],
  ...[bert, nomicBert, modernBert],
  ...[glm4moe, dots1, minimaxM2, ernie45moe, dbrx, qwen3next],
  ...[apertus, hunyuanDense, hunyuanMoe, mistral3, deepseek2, mamba, mamba2, jamba],
];
