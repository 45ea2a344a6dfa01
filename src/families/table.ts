/**
 * @file The table of families. A new family is one entry here, and its data beside.
 */
import { apertus } from './brands/apertus.ts';
import { afmoe, arcee } from './brands/arcee.ts';
import { aria } from './brands/aria.ts';
import { bert, distilbert, eurobert, modernbert, nomicBert, roberta } from './brands/bert.ts';
import { biogpt } from './brands/biogpt.ts';
import { cohere, cohere2 } from './brands/cohere.ts';
import { idefics, mllama } from './brands/cross.ts';
import { dbrx, mpt } from './brands/databricks.ts';
import { deepseekV2, deepseekV3, glm4MoeLite, minicpm3, youtu } from './brands/deepseek.ts';
import { dots1 } from './brands/dots.ts';
import { clvpDecoder, clvpEncoder, esm, mimi, pixtral } from './brands/encoders.ts';
import { ernie45, ernie45Moe } from './brands/ernie.ts';
import { exaone4 } from './brands/exaone.ts';
import { falconH1 } from './brands/falcon-h1.ts';
import { gemma, gemma2, gemma3, vaultGemma } from './brands/gemma.ts';
import { gemma3n } from './brands/gemma3n.ts';
import { gemma4 } from './brands/gemma4.ts';
import { glm, glm4, glm4Moe } from './brands/glm.ts';
import { gptNeo } from './brands/gpt-neo.ts';
import { gptNeox, gptNeoxJapanese, persimmon } from './brands/gpt-neox.ts';
import { gptOss } from './brands/gpt-oss.ts';
import { bloom, codegen, falcon, gpt2, gptj, opt } from './brands/gpt2.ts';
import { granite, graniteHybrid, graniteMoe } from './brands/granite.ts';
import { recurrentGemma } from './brands/griffin.ts';
import { hunyuanDense, hunyuanMoe } from './brands/hunyuan.ts';
import { jetmoe } from './brands/jetmoe.ts';
import { helium, moshi } from './brands/kyutai.ts';
import { lfm2, lfm2Moe } from './brands/lfm.ts';
import { chameleon, cwm, llama } from './brands/llama.ts';
import { llama4 } from './brands/llama4.ts';
import { bamba, falconMamba, jamba, mamba, mamba2 } from './brands/mamba.ts';
import { minimaxM2 } from './brands/minimax.ts';
import { ministral3, mistral } from './brands/mistral.ts';
import { mixtral } from './brands/mixtral.ts';
import { nanochat } from './brands/nanochat.ts';
import { nemotron, nemotronH } from './brands/nemotron.ts';
import { flexOlmo, olmo, olmo2, olmo3, olmoe } from './brands/olmo.ts';
import { phi, phi3, phimoe } from './brands/phi.ts';
import { qwen2, qwen2Vl, qwen3, qwen3Vl } from './brands/qwen.ts';
import { qwen2Moe, qwen3Moe, qwen3VlMoe } from './brands/qwen-moe.ts';
import { qwen3Next, qwen35, qwen35Moe } from './brands/qwen-next.ts';
import { seedOss } from './brands/seed.ts';
import { smollm3 } from './brands/smollm.ts';
import { stablelm } from './brands/stablelm.ts';
import { gptBigcode, starcoder2 } from './brands/starcoder.ts';
import { xglm } from './brands/xglm.ts';
import type { Family } from './family.ts';

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
