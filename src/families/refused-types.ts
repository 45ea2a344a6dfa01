/**
 * @file Types of models that are known and not computed: why, and what to take instead.
 */

/** Types with one reason. */
type Refusal = readonly [types: string, why: string];

const REFUSALS: readonly Refusal[] = [
  [
    'deepseek_v32 deepseek_v4 glm_moe_dsa axk2 dots3_note dots3_note_text minimax_m3 minimax_m3_vl minimax_m3_vl_text',
    'its attention chooses keys by an indexer of its own, which is not supported; deepseek_v3, glm4_moe and minimax_m2 are',
  ],
  [
    'qwen4_exp qwen4_exp_text hy_v4 hy_v4_vl glm5_next glm5_next_text',
    'its residual stream is several (hyper-connections), and its attention chooses keys by an indexer, which are not supported; qwen3_5, hunyuan_v1_moe and glm4_moe are',
  ],
  [
    'kimi_k2 kimi_k25 kimi_k3',
    'it has a trillion parameters, which is out of reach here; deepseek_v3 is the same architecture, and is supported',
  ],
  [
    'longcat_flash longcat_flash_ngram',
    'its layers have two attentions and experts that do nothing, which are not supported; deepseek_v3 is',
  ],
  [
    'inkling inkling_text inkling_mm_model inkling2 inkling2_text inkling2_loop inkling2_loop_text',
    'its attention has short convolutions, which are not supported; lfm2 and qwen3_moe are',
  ],
  ['doge', 'its attention has a learned mask, which is not supported; llama and smollm3 are'],
  ['diffllama', 'its attention is the difference of two, which is not supported; llama is'],
  [
    'kimi_linear olmo_hybrid rwkv rwkv6 rwkv7 xlstm minimax bailing_hybrid hrm_text',
    'its recurrence is not supported; mamba2, falcon_h1, qwen3_5 and lfm2 are',
  ],
  ['zaya', 'its attention has convolutions over queries and keys, which are not supported; qwen3_moe is'],
  ['blt', 'it reads bytes in patches of changing length, which is not supported; llama is'],
  [
    'bart t5 t5gemma t5gemma2 whisper mt5 umt5 mbart marian m2m_100 pegasus led longt5 switch_transformers nllb-moe',
    'it has an encoder and a decoder, and decoders alone are supported',
  ],
  [
    'diffusion_gemma dream llada',
    'it writes all tokens of a block at once (diffusion), and only token after token is supported',
  ],
  [
    'gemma4_assistant gemma4_unified_assistant',
    'it drafts for another model and can not write alone; load the model that it belongs to',
  ],
  ['paligemma', 'it attends to its whole prompt in both directions, which decoders here do not'],
  ['moshi_depth', 'the depth decoder has matrices for each of its steps, which is not supported; moshi itself is'],
  ['bitnet', 'its norms within attention and MLP, and its packed weights, are not supported; llama is'],
  [
    'granite_swa granitemoe_swa granitemoeshared',
    'it is not in the table of families; granite and granitemoehybrid are',
  ],
  [
    'laguna step3p5 step3p7 mimo_v2_flash openelm',
    'it is not in the table of families; qwen3_moe, afmoe and gpt_oss are',
  ],
  ['muse_glimmer muse_spark', 'it is not in the table of families; gemma3 and gemma4 are'],
  ['lara_mini', 'it is not in the table of families; qwen3_next is'],
  ['zamba zamba2', 'its attention layers share their weights, which is not supported; bamba and nemotron_h are'],
  ['exaone exaone_moe', 'it is not in the table of families; exaone4 is'],
  ['cohere2_moe cohere_compass cohere_compass_text', 'it is not in the table of families; cohere2 is'],
  ['hy_v3', 'it is not in the table of families; hunyuan_v1_moe is'],
  ['lfm3 lfm3_vl', 'it is not in the table of families; lfm2 is'],
  ['mistral4 mistral_large4 ministral', 'it is not in the table of families; ministral3 and mistral are'],
  ['apertus1p5 apertus1p5_text', 'it is not in the table of families; apertus is'],
  [
    'mellum solar_open sarvam_moe axk1 sarvam_mla bailing_moe bailing_moe_v2',
    'it is not in the table of families; qwen3_moe, glm4_moe and deepseek_v3 are',
  ],
  [
    'internlm internlm2 internlm3 baichuan qwen jais2 iquestcoder hyperclovax minicpm phi4_multimodal kolibri1 modernbert-decoder',
    'it is not in the table of families; llama, qwen2, qwen3, phi3 and minicpm3 are',
  ],
  [
    'gpt-sw3 openai-gpt ctrl cpmant xlnet reformer big_bird',
    'it is not in the table of families; gpt2, gpt_neo and gpt_neox are',
  ],
  [
    'deberta deberta-v2 mpnet electra albert gte new jina_embeddings_v3',
    'this encoder is not in the table of families; bert, xlm-roberta, modernbert, nomic_bert and eurobert are',
  ],
  [
    'qwen2_5_omni qwen3_omni_moe qwen2_5_omni_thinker qwen3_omni_moe_thinker',
    'its thinker hears, and only models whose decoder stands alone are taken out; qwen2_5_vl and qwen3_vl are',
  ],
  [
    'deepseek_ocr2 deepseek_vl_hybrid emu3 ernie4_5_vl_moe fast_vlm fuyu git glm_ocr granite4_vision hunyuan_vl kosmos-2 kosmos-2.5 ' +
      'nemotron_h_omni paddleocr_vl perception_lm phi3_v blip-2 instructblip instructblipvideo shieldgemma2',
    'its text model is not taken out of it; those of llava, internvl, gemma3, glm4v, qwen3_vl and qwen3_5 are',
  ],
  ['florence2 pix2struct udop blip', 'it has an encoder and a decoder, and decoders alone are supported'],
];

/** The reason of each type. */
export const REFUSED_TYPES: Readonly<Record<string, string>> = Object.fromEntries(
  REFUSALS.flatMap(([types, why]) => types.split(' ').map((type) => [type, why])),
);
