/**
 * @file The table of families. A new family is one row here, and its data beside.
 */
import { apertus } from './apertus.ts';
import { afmoe, arcee } from './arcee.ts';
import { aria } from './aria.ts';
import { bert, distilbert, eurobert, modernbert, nomicBert, roberta } from './bert.ts';
import { biogpt } from './biogpt.ts';
import { cohere, cohere2 } from './cohere.ts';
import { idefics, mllama } from './cross.ts';
import { dbrx, mpt } from './databricks.ts';
import { deepseekV2, deepseekV3, glm4MoeLite, minicpm3, youtu } from './deepseek.ts';
import { dots1 } from './dots.ts';
import { clvpDecoder, clvpEncoder, esm, mimi, pixtral } from './encoders.ts';
import { ernie45, ernie45Moe } from './ernie.ts';
import { exaone4 } from './exaone.ts';
import { falconH1 } from './falcon-h1.ts';
import type { Family } from './family.ts';
import { gemma, gemma2, gemma3, vaultGemma } from './gemma.ts';
import { gemma3n } from './gemma3n.ts';
import { gemma4 } from './gemma4.ts';
import { glm, glm4, glm4Moe } from './glm.ts';
import { gptNeo } from './gpt-neo.ts';
import { gptNeox, gptNeoxJapanese, persimmon } from './gpt-neox.ts';
import { gptOss } from './gpt-oss.ts';
import { bloom, codegen, falcon, gpt2, gptj, opt } from './gpt2.ts';
import { granite, graniteHybrid, graniteMoe } from './granite.ts';
import { recurrentGemma } from './griffin.ts';
import { hunyuanDense, hunyuanMoe } from './hunyuan.ts';
import { jetmoe } from './jetmoe.ts';
import { helium, moshi } from './kyutai.ts';
import { lfm2, lfm2Moe } from './lfm.ts';
import { chameleon, cwm, llama } from './llama.ts';
import { llama4 } from './llama4.ts';
import { bamba, falconMamba, jamba, mamba, mamba2 } from './mamba.ts';
import { minimaxM2 } from './minimax.ts';
import { ministral3, mistral } from './mistral.ts';
import { mixtral } from './mixtral.ts';
import { nanochat } from './nanochat.ts';
import { nemotron, nemotronH } from './nemotron.ts';
import { flexOlmo, olmo, olmo2, olmo3, olmoe } from './olmo.ts';
import { phi, phi3, phimoe } from './phi.ts';
import { qwen2, qwen2Vl, qwen3, qwen3Vl } from './qwen.ts';
import { qwen2Moe, qwen3Moe, qwen3VlMoe } from './qwen-moe.ts';
import { qwen3Next, qwen35, qwen35Moe } from './qwen-next.ts';
import { seedOss } from './seed.ts';
import { smollm3 } from './smollm.ts';
import { stablelm } from './stablelm.ts';
import { gptBigcode, starcoder2 } from './starcoder.ts';
import { xglm } from './xglm.ts';

export const FAMILIES: readonly Family[] = [
  ...[llama, mistral, qwen2, qwen3, phi3, glm, granite, moshi, chameleon, qwen2Vl],
  ...[gemma, gemma2, gemma3, gemma3n, gemma4, vaultGemma, recurrentGemma],
  ...[gptNeox, gptNeoxJapanese, persimmon],
  ...[gpt2, gptj, codegen, opt, bloom, falcon],
  ...[phi, stablelm, starcoder2, nemotron],
  ...[cohere, cohere2],
  ...[olmo, olmo2, olmo3, olmoe],
  ...[mllama, idefics],
  ...[bert, roberta, distilbert, nomicBert, modernbert, eurobert],
  ...[esm, pixtral, mimi, clvpEncoder, clvpDecoder],
  ...[mixtral, phimoe, qwen2Moe, qwen3Moe, qwen3VlMoe, graniteMoe, aria, dbrx, jetmoe],
  ...[smollm3, glm4, ernie45, exaone4, seedOss, arcee, cwm, helium, qwen3Vl, graniteHybrid],
  ...[gptBigcode, gptNeo, mpt, biogpt, xglm, nanochat, apertus],
  ...[glm4Moe, dots1, ernie45Moe, flexOlmo, minimaxM2, afmoe, hunyuanDense, hunyuanMoe, gptOss, llama4, ministral3],
  ...[qwen35, qwen35Moe, qwen3Next, lfm2, lfm2Moe, mamba, falconMamba, jamba, mamba2, bamba, nemotronH, falconH1],
  ...[deepseekV2, deepseekV3, glm4MoeLite, youtu, minicpm3],
];
