/**
 * @file The table of GGUF architectures that are run. A new one is one entry here, and its data beside.
 */
import type { Architecture } from '../architecture.ts';
import { bloom, falcon, gpt2, gptneox, mpt, nemotron, phi2, starcoder, starcoder2 } from './classic.ts';
import { bert, eurobert, gemmaEmbedding, llamaEmbed, modernBert, nomicBert } from './encoders.ts';
import { gemma, gemma2, gemma3 } from './gemma.ts';
import { gemma3n } from './gemma3n.ts';
import { gemma4 } from './gemma4.ts';
import { lfm2, lfm2moe, qwen35, qwen35moe } from './hybrid.ts';
import { baichuan, exaone, internlm2, minicpm, qwen, qwen2vl } from './kin.ts';
import { deepseek2, minicpm3 } from './latent.ts';
import { chatglm, cohere2, commandR, granite, olmo, olmo2, phi3, qwen2, qwen3, stablelm } from './llama.ts';
import { llama4 } from './llama4.ts';
import { jamba, mamba, mamba2 } from './mamba.ts';
import { afmoe, dbrx, dots1, ernie45moe, glm4moe, minimaxM2, qwen3next } from './mixtures.ts';
import { deepseek, gptOss, granitemoe, llama, olmoe, phimoe, qwen2moe, qwen3moe } from './moe.ts';
import { arcee, ernie45, exaone4, glm4, qwen3vl, qwen3vlmoe, seedOss, smollm3 } from './newer.ts';
import { apertus, hunyuanDense, hunyuanMoe, mistral3 } from './recent.ts';
import { falconH1, granitehybrid, nemotronH } from './state-hybrids.ts';

export const ARCHITECTURES: readonly Architecture[] = [
  ...[llama, qwen2, qwen3, phi3, chatglm, granite, olmo, olmo2, commandR, cohere2, stablelm],
  ...[arcee, smollm3, seedOss, glm4, ernie45, qwen3vl, exaone4],
  ...[exaone, internlm2, baichuan, minicpm, qwen, qwen2vl],
  ...[gemma, gemma2, gemma3, gemma3n, gemma4],
  ...[gpt2, gptneox, bloom, falcon, mpt, starcoder, starcoder2, phi2, nemotron],
  ...[qwen2moe, deepseek, qwen3moe, olmoe, phimoe, granitemoe, gptOss, llama4, qwen3vlmoe, afmoe],
  ...[lfm2, lfm2moe, qwen35, qwen35moe],
  ...[granitehybrid, nemotronH, falconH1],
  ...[bert, nomicBert, modernBert, eurobert, llamaEmbed, gemmaEmbedding],
  ...[glm4moe, dots1, minimaxM2, ernie45moe, dbrx, qwen3next],
  ...[apertus, hunyuanDense, hunyuanMoe, mistral3, deepseek2, minicpm3, mamba, mamba2, jamba],
];
