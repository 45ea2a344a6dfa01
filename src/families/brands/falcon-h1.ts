/**
 * @file Falcon-H1 (arXiv 2507.22448): attention and Mamba-2 side by side in each layer, with a factor at each
 * projection. Reference: transformers models/falcon_h1.
 */
import type { Family } from '../family.ts';
import { readBase } from '../read-base.ts';
import { bamba, MAMBA_KEYS, mamba2Mixer, skipInitialization } from './mamba.ts';

export const falconH1: Family = {
  modelTypes: ['falcon_h1'],
  config: (r) => {
    const base = readBase(r, { normEps: 1e-5, nQueryGroups: 8, rope: { fractionKeys: null } });
    skipInitialization(r);
    r.skip('mamba_chunk_size', 'mamba_expand', 'num_logits_to_keep', 'attn_layer_indices', 'mlp_expansion_factor');
    r.refuse('mamba_use_mlp', 'only true is supported', [true]);
    for (const key of ['attention_bias', 'projectors_bias', 'mlp_bias', 'mamba_proj_bias'])
      r.refuse(key, 'biases are not supported in this family');
    const read = mamba2Mixer(r, base, MAMBA_KEYS);
    const width = read.heads * read.headSize;
    if (r.int('mamba_d_ssm', width) !== width)
      r.fail('mamba_d_ssm', `must be mamba_n_heads · mamba_d_head, which is ${width}`);
    const beforeGate = r.bool('mamba_norm_before_gate', true);
    const grouped = { ...base.norm, place: beforeGate ? 'before-gate' : 'after-gate', groups: read.groups } as const;
    const norm = r.bool('mamba_rms_norm', false) ? grouped : null;
    const factor = (key: string) => r.float(key, 1);
    const factors = (key: string, count: number) =>
      r.has(key) ? r.numbers(key, count) : new Array<number>(count).fill(1);
    const ssmIn = factor('ssm_in_multiplier');
    const ssm = { ...read, norm, partScales: factors('ssm_multipliers', 5).map((part) => part * ssmIn) };
    const [gate, out] = factors('mlp_multipliers', 2);
    // Without biases, what factors do to queries and keys they do to their products, and to values they do to the
    // result.
    const attentionIn = factor('attention_in_multiplier');
    const scales = { attention: attentionIn * factor('attention_out_multiplier'), ssm: factor('ssm_out_multiplier') };
    return {
      ...base,
      embedScale: factor('embedding_multiplier'),
      logitScale: factor('lm_head_multiplier'),
      attentionScale: base.attentionScale * attentionIn ** 2 * factor('key_multiplier'),
      layer: ({ mixer, mlp, ...layer }) => ({
        ...layer,
        mixer: mixer?.kind === 'self-attention' ? { kind: 'attention-mamba-2', attention: mixer, ssm, scales } : mixer,
        mlp: mlp?.kind === 'gated' ? { ...mlp, scales: { gate, out } } : mlp,
      }),
    };
  },
  tensors: bamba.tensors,
};
