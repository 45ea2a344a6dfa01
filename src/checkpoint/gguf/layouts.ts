/**
 * @file How each family that can be written to GGUF is laid out there, and what its modules are called.
 */

/** What of a model is laid out in its own way. */
export interface GgufLayout {
  readonly architecture: string;
  /** Of models with experts, where it is another. */
  readonly mixture?: string;
  /** Rows of queries and keys are interleaved within heads. */
  readonly rotated?: boolean;
  /** Queries, keys and values are one tensor. */
  readonly fusedQkv?: boolean;
  /** Gate and up are one tensor. */
  readonly fusedGateUp?: boolean;
  /** llama.cpp has a window for it; `list`: of the layers that are listed; `every`: of all but every n-th. */
  readonly window?: 'all' | 'list' | 'every';
  /** What the logits are divided by, or multiplied with, is stated. */
  readonly logitScale?: 'divided' | 'multiplied';
  /** Modules (as in {@link MODULES}) with a name of their own. */
  readonly names?: Readonly<Record<string, string>>;
}

/** By model_type. What a file could not say is found when it is read back. */
export const LAYOUTS: Readonly<Record<string, GgufLayout>> = {
  llama: { architecture: 'llama', rotated: true },
  mistral: { architecture: 'llama', rotated: true },
  mixtral: { architecture: 'llama', rotated: true },
  qwen2: { architecture: 'qwen2' },
  qwen2_moe: { architecture: 'qwen2moe' },
  qwen3: { architecture: 'qwen3' },
  qwen3_moe: { architecture: 'qwen3moe' },
  qwen3_vl_text: { architecture: 'qwen3vl' },
  gemma: { architecture: 'gemma' },
  gemma2: { architecture: 'gemma2', window: 'all' },
  gemma3_text: { architecture: 'gemma3', window: 'list' },
  phi: { architecture: 'phi2', fusedQkv: true },
  phi3: { architecture: 'phi3', fusedQkv: true, fusedGateUp: true, window: 'all' },
  phimoe: { architecture: 'phimoe' },
  gpt2: { architecture: 'gpt2', fusedQkv: true },
  gpt_bigcode: { architecture: 'starcoder', fusedQkv: true },
  gpt_neox: { architecture: 'gptneox', fusedQkv: true },
  bloom: { architecture: 'bloom', fusedQkv: true },
  mpt: { architecture: 'mpt', fusedQkv: true },
  starcoder2: { architecture: 'starcoder2', window: 'all' },
  stablelm: { architecture: 'stablelm' },
  granite: { architecture: 'granite', rotated: true, logitScale: 'divided' },
  granitemoe: { architecture: 'granitemoe', rotated: true, logitScale: 'divided' },
  olmo: { architecture: 'olmo', rotated: true },
  olmo2: { architecture: 'olmo2' },
  olmo3: { architecture: 'olmo2', window: 'list' },
  olmoe: { architecture: 'olmoe' },
  cohere: { architecture: 'command-r', logitScale: 'multiplied' },
  cohere2: { architecture: 'cohere2', logitScale: 'multiplied', window: 'every' },
  nemotron: { architecture: 'nemotron' },
  glm: { architecture: 'chatglm', fusedGateUp: true },
  glm4: { architecture: 'glm4', fusedGateUp: true },
  arcee: { architecture: 'arcee', rotated: true },
  seed_oss: { architecture: 'seed_oss', names: { norm_2: 'post_attention_norm' } },
  ernie4_5: { architecture: 'ernie4_5' },
  exaone4: { architecture: 'exaone4', window: 'list' },
  smollm3: { architecture: 'smollm3', rotated: true },
  hunyuan_v1_dense: { architecture: 'hunyuan-dense' },
  hunyuan_v1_moe: { architecture: 'hunyuan-moe' },
  glm4_moe: { architecture: 'glm4moe', names: { norm_2: 'post_attention_norm' } },
  dots1: { architecture: 'dots1' },
  minimax_m2: { architecture: 'minimax-m2' },
  ernie4_5_moe: { architecture: 'ernie4_5-moe' },
  afmoe: { architecture: 'afmoe', window: 'list', names: { 'attn.gate': 'attn_gate' } },
  gpt_oss: { architecture: 'gpt-oss', window: 'all', names: { norm_2: 'post_attention_norm' } },
  llama4_text: { architecture: 'llama4' },
  deepseek_v2: { architecture: 'deepseek2' },
  deepseek_v3: { architecture: 'deepseek2' },
  glm4_moe_lite: { architecture: 'deepseek2' },
  youtu: { architecture: 'deepseek2' },
  mamba: { architecture: 'mamba' },
  falcon_mamba: { architecture: 'mamba' },
  mamba2: { architecture: 'mamba2' },
  jamba: { architecture: 'jamba' },
  lfm2: { architecture: 'lfm2', names: { ln_f: 'token_embd_norm' } },
  lfm2_moe: { architecture: 'lfm2moe', names: { ln_f: 'token_embd_norm' } },
  granitemoehybrid: { architecture: 'granitehybrid', rotated: true, logitScale: 'divided' },
  bamba: { architecture: 'granitehybrid', rotated: true, logitScale: 'divided' },
  qwen3_next: { architecture: 'qwen3next', names: { norm_2: 'post_attention_norm', 'attn.gate': 'attn_q_gate' } },
  nemotron_h: { architecture: 'nemotron_h', mixture: 'nemotron_h_moe', names: { norm_2: 'attn_norm' } },
};

/** What follows `h.L.` or stands alone → what follows `blk.L.` or stands alone. */
export const MODULES: Readonly<Record<string, string>> = {
  wte: 'token_embd',
  wpe: 'position_embd',
  wte_norm: 'token_embd_norm',
  ln_f: 'output_norm',
  lm_head: 'output',
  norm_1: 'attn_norm',
  norm_2: 'ffn_norm',
  post_attention_norm: 'post_attention_norm',
  post_mlp_norm: 'post_ffw_norm',
  'attn.q': 'attn_q',
  'attn.k': 'attn_k',
  'attn.v': 'attn_v',
  'attn.proj': 'attn_output',
  'attn.norm_q': 'attn_q_norm',
  'attn.norm_k': 'attn_k_norm',
  'mlp.fc_1': 'ffn_gate',
  'mlp.fc_2': 'ffn_up',
  'mlp.fc': 'ffn_up',
  'mlp.proj': 'ffn_down',
  'mlp.gate': 'ffn_gate_inp',
  'mlp.experts.fc_1': 'ffn_gate_exps',
  'mlp.experts.fc_2': 'ffn_up_exps',
  'mlp.experts.proj': 'ffn_down_exps',
  'mlp.shared.fc_1': 'ffn_gate_shexp',
  'mlp.shared.fc_2': 'ffn_up_shexp',
  'mlp.shared.proj': 'ffn_down_shexp',
  'mlp.experts.fc': 'ffn_up_exps',
  'mlp.shared.fc': 'ffn_up_shexp',
  'mlp.shared_gate': 'ffn_gate_inp_shexp',
  'attn.q_down': 'attn_q_a',
  'attn.q_norm': 'attn_q_a_norm',
  'attn.q_up': 'attn_q_b',
  'attn.kv_down': 'attn_kv_a_mqa',
  'attn.kv_norm': 'attn_kv_a_norm',
  'attn.k_up': 'attn_k_b',
  'attn.v_up': 'attn_v_b',
  'ssm.in': 'ssm_in',
  'ssm.x': 'ssm_x',
  'ssm.dt': 'ssm_dt',
  'ssm.conv': 'ssm_conv1d',
  'ssm.out': 'ssm_out',
  'ssm.norm': 'ssm_norm',
  'ssm.dt_norm': 'ssm_dt_norm',
  'ssm.b_norm': 'ssm_b_norm',
  'ssm.c_norm': 'ssm_c_norm',
  'delta.qkv': 'attn_qkv',
  'delta.z': 'attn_gate',
  'delta.beta': 'ssm_beta',
  'delta.decay': 'ssm_alpha',
  'delta.conv': 'ssm_conv1d',
  'delta.norm': 'ssm_norm',
  'delta.out': 'ssm_out',
  'conv.in': 'shortconv.in_proj',
  'conv.conv': 'shortconv.conv',
  'conv.out': 'shortconv.out_proj',
};

/** Parameters whose whole name is another, and what becomes of their values. */
export const BARE: Readonly<Record<string, { readonly name: string; readonly map?: (value: number) => number }>> = {
  'ssm.a_log': { name: 'ssm_a', map: (value) => -Math.exp(value) },
  'delta.a_log': { name: 'ssm_a', map: (value) => -Math.exp(value) },
  'delta.dt_bias': { name: 'ssm_dt.bias' },
  'ssm.d': { name: 'ssm_d' },
  'ssm.dt_bias': { name: 'ssm_dt.bias' },
  'attn.sinks': { name: 'attn_sinks.weight' },
  'mlp.choice_bias': { name: 'exp_probs_b.bias' },
};

/** Modules that are one tensor in some architectures. */
export const FUSED = {
  qkv: { parts: ['attn_q', 'attn_k', 'attn_v'], to: 'attn_qkv' },
  gateUp: { parts: ['ffn_gate', 'ffn_up'], to: 'ffn_up' },
} as const;
