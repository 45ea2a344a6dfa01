/**
 * @file What a GGUF file states of mixers that are not attention with keys and values for each head: state spaces,
 * short convolutions, latent attention; and of experts.
 */
import type { Entry } from '../../checkpoint/gguf/write/header-bytes.ts';
import type { Config } from '../../config/config.ts';
import type { LatentAttention, Mamba, Mamba2, SelfAttention } from '../../config/layer-spec.ts';
import type { MlpSpec, MoeMlp } from '../../config/mlp-spec.ts';
import type { ConfigError } from '../../util/errors.ts';

/** How entries are put below the architecture's name. */
export interface Puts {
  readonly u32: (key: string, value: number) => void;
  readonly f32: (key: string, value: number) => void;
  /** A whole key. */
  readonly put: (key: string, entry: Entry) => void;
  /** The architecture. */
  readonly a: string;
  /** What GGUF can't hold. */
  readonly fail: (what: string) => ConfigError;
}

/** What `expert_gating_func` says. */
const GATING: Readonly<Record<string, number>> = { softmax: 1, sigmoid: 2 };

/**
 * Heads of layers with attention; 0 stands for those with a state. @throws ConfigError where layers differ otherwise
 */
export function putHeads({ layers }: Config, attention: readonly SelfAttention[], { u32, put, a, fail }: Puts): void {
  const [first] = attention;
  if (!first) {
    for (const key of ['attention.head_count', 'feed_forward_length']) u32(key, 0);
    return;
  }
  if (attention.some(({ heads, groups, keySize }) => `${[heads, groups, keySize]}` !== `${sizes(first)}`))
    throw fail('heads differ from layer to layer');
  u32('attention.head_count', first.heads);
  const groups = layers.map(({ mixer }) => (mixer?.kind === 'self-attention' ? mixer.groups : 0));
  if (attention.length === layers.length || a === 'qwen3next') u32('attention.head_count_kv', first.groups);
  else put(`${a}.attention.head_count_kv`, { type: 'i32s', value: groups });
  u32('attention.key_length', first.keySize);
  u32('attention.value_length', first.valueSize);
}

const sizes = ({ heads, groups, keySize }: SelfAttention): readonly number[] => [heads, groups, keySize];

/** The first state space of a model; all are alike where the file is read back as the same model. */
export function putStates({ layers }: Config, { u32, put, a }: Puts): void {
  const mixers = layers.map(({ mixer }) => mixer);
  const ssm = mixers.find((mixer): mixer is Mamba | Mamba2 => mixer?.kind === 'mamba-1' || mixer?.kind === 'mamba-2');
  const conv = mixers.find((mixer) => mixer?.kind === 'short-conv');
  if (conv) u32('shortconv.l_cache', conv.convWidth);
  const delta = mixers.find((mixer) => mixer?.kind === 'gated-delta');
  if (delta) {
    u32('ssm.conv_kernel', delta.convWidth);
    u32('ssm.state_size', delta.keySize);
    u32('ssm.group_count', delta.keyHeads);
    u32('ssm.time_step_rank', delta.valueHeads);
    u32('ssm.inner_size', delta.valueHeads * delta.valueSize);
    u32('full_attention_interval', mixers.findIndex((mixer) => mixer?.kind === 'self-attention') + 1);
  }
  if (!ssm) return;
  u32('ssm.conv_kernel', ssm.convWidth);
  u32('ssm.state_size', ssm.stateSize);
  u32('ssm.inner_size', ssm.kind === 'mamba-1' ? ssm.width : ssm.heads * ssm.headSize);
  u32('ssm.time_step_rank', ssm.kind === 'mamba-1' ? ssm.rank : ssm.heads);
  if (ssm.kind === 'mamba-2') u32('ssm.group_count', ssm.groups);
  else put(`${a}.ssm.dt_b_c_rms`, { type: 'bool', value: ssm.norm !== null && !ssm.norm.affine });
}

/** Keys and values are stated as if there was one head of them, as in newer files. */
export function putLatent(mixers: readonly LatentAttention[], { u32, fail }: Puts): void {
  const [{ heads, latentSize, ropeSize, nopeSize, valueSize, queryRank }] = mixers;
  if (mixers.some((mixer) => mixer.heads !== heads)) throw fail('heads differ from layer to layer');
  u32('attention.head_count', heads);
  u32('attention.head_count_kv', 1);
  u32('attention.key_length', ropeSize + latentSize);
  u32('attention.value_length', latentSize);
  u32('attention.key_length_mla', ropeSize + nopeSize);
  u32('attention.value_length_mla', valueSize);
  u32('attention.kv_lora_rank', latentSize);
  if (queryRank !== null) u32('attention.q_lora_rank', queryRank);
}

/** The factor of YaRN that latent attention has in its scale: 0.1 · mscale, of which the rotation has none. */
export function putLatentScale(config: Config, { scale, nopeSize, ropeSize }: LatentAttention, puts: Puts): void {
  const [rope] = config.ropes;
  const plain = (nopeSize + ropeSize) ** -0.5;
  if (rope?.scaling.type !== 'yarn') {
    if (Math.abs(scale / plain - 1) > 1e-6) throw puts.fail('attention has a scale of its own');
    return;
  }
  if (Math.abs(rope.scaling.attentionFactor - 1) > 1e-6) throw puts.fail('two factors of YaRN');
  puts.f32('rope.scaling.yarn_log_multiplier', (Math.sqrt(scale / plain) - 1) / Math.log(rope.scaling.factor));
}

export function putMlps(mlps: readonly (MlpSpec | null)[], puts: Puts): void {
  const { u32, put, a, fail } = puts;
  const widths = mlps.map((mlp) => (mlp && mlp.kind !== 'moe' ? mlp.size : 0));
  const dense = new Set(widths.filter((width) => width > 0));
  const moe = mlps.find((mlp) => mlp?.kind === 'moe');
  // There a layer without width and key heads is a state space.
  const widest = (mlp: MlpSpec | null, l: number) => (mlp?.kind === 'moe' ? mlp.experts.size : widths[l]);
  if (a.startsWith('nemotron_h')) put(`${a}.feed_forward_length`, { type: 'i32s', value: mlps.map(widest) });
  else if (dense.size > 1) throw fail('the widths of the MLPs differ');
  else if (dense.size > 0 || moe) u32('feed_forward_length', [...dense][0] ?? moe?.experts.size ?? 0);
  if (moe) putExperts(mlps, moe, puts);
  else if (a === 'deepseek2') {
    // llama.cpp wants these of models whose layers are all dense, too.
    u32('leading_dense_block_count', mlps.length);
    u32('expert_feed_forward_length', [...dense][0]);
    u32('expert_shared_count', 1);
    u32('expert_count', 0);
    u32('expert_used_count', 0);
  }
}

function putExperts(
  mlps: readonly (MlpSpec | null)[],
  { experts, router, shared }: MoeMlp,
  { u32, f32, put, a }: Puts,
): void {
  u32('expert_count', experts.count);
  u32('expert_used_count', router.perToken);
  if (a === 'llama' || a === 'jamba') return;
  u32('expert_feed_forward_length', experts.size);
  u32(
    'leading_dense_block_count',
    mlps.findIndex((mlp) => mlp?.kind === 'moe'),
  );
  put(`${a}.expert_weights_norm`, { type: 'bool', value: router.normP !== null });
  if (router.scale !== 1) f32('expert_weights_scale', router.scale);
  if (router.score in GATING) u32('expert_gating_func', GATING[router.score]);
  if (router.groups) {
    u32('expert_group_count', router.groups.count);
    u32('expert_group_used_count', router.groups.perToken);
  }
  const sparse = mlps.flatMap((mlp, l) => (mlp?.kind === 'moe' ? [l] : []));
  if (a === 'llama4' || a === 'ernie4_5-moe')
    u32('interleave_moe_layer_step', sparse.length > 1 ? sparse[1] - sparse[0] : 1);
  if (!shared) return;
  u32('expert_shared_feed_forward_length', shared.size);
  if (shared.size % experts.size === 0) u32('expert_shared_count', shared.size / experts.size);
  else if (a.startsWith('nemotron_h')) u32('expert_shared_count', 1);
}
