/**
 * @file The types of all functions of ggml that are called: one table, from which both the calls and their TypeScript
 * types are made.
 */

/** An address. 0n and null are the same. */
export type Pointer = bigint | null;

/**
 * The C types of arguments and results. `memory`: an address, or a typed array whose memory is meant during the call.
 */
interface CTypes {
  readonly void: undefined;
  readonly pointer: Pointer;
  readonly memory: Pointer | ArrayBufferView;
  readonly int: number;
  readonly float: number;
  /** size_t and int64_t. */
  readonly size: number;
  readonly bool: boolean;
  readonly str: string;
  /** struct ggml_init_params, by value. */
  readonly init: { readonly mem_size: number; readonly mem_buffer: ArrayBufferView; readonly no_alloc: boolean };
}
export type CType = keyof CTypes;

/** Result, then arguments. */
type Signature = readonly [CType, ...CType[]];

/** Tensor builders of one kind: context, tensors, numbers → tensor. */
const op = <A extends readonly CType[]>(...more: A) => ['pointer', 'pointer', ...more] as const;
const t = 'pointer' as const;

/** libggml-base. */
export const BASE_FUNCTIONS = {
  ggml_version: ['str'],
  ggml_log_set: ['void', 'pointer', 'pointer'],
  ggml_init: ['pointer', 'init'],
  ggml_free: ['void', 'pointer'],
  ggml_reset: ['void', 'pointer'],
  ggml_used_mem: ['size', 'pointer'],
  ggml_get_no_alloc: ['bool', 'pointer'],
  ggml_set_no_alloc: ['void', 'pointer', 'bool'],
  ggml_tensor_overhead: ['size'],
  ggml_graph_overhead_custom: ['size', 'size', 'bool'],
  ggml_nbytes: ['size', 'pointer'],
  ggml_row_size: ['size', 'int', 'size'],
  ggml_type_size: ['size', 'int'],
  ggml_blck_size: ['size', 'int'],
  ggml_get_data: ['pointer', 'pointer'],
  ggml_quantize_init: ['void', 'int'],
  ggml_quantize_chunk: ['size', 'int', 'memory', 'memory', 'size', 'size', 'size', 'memory'],
  ggml_validate_row_data: ['bool', 'int', 'memory', 'size'],
  ggml_set_input: ['void', t],
  ggml_set_output: ['void', t],

  ggml_new_tensor_1d: op('int', 'size'),
  ggml_new_tensor_2d: op('int', 'size', 'size'),
  ggml_new_tensor_3d: op('int', 'size', 'size', 'size'),
  ggml_new_tensor_4d: op('int', 'size', 'size', 'size', 'size'),
  ggml_view_1d: op(t, 'size', 'size'),
  ggml_view_2d: op(t, 'size', 'size', 'size', 'size'),
  ggml_view_3d: op(t, 'size', 'size', 'size', 'size', 'size', 'size'),
  ggml_view_4d: op(t, 'size', 'size', 'size', 'size', 'size', 'size', 'size', 'size'),
  ggml_reshape_4d: op(t, 'size', 'size', 'size', 'size'),
  ggml_permute: op(t, 'int', 'int', 'int', 'int'),
  ggml_cont: op(t),
  ggml_cont_4d: op(t, 'size', 'size', 'size', 'size'),
  ggml_cast: op(t, 'int'),
  ggml_cpy: op(t, t),
  ggml_repeat_4d: op(t, 'size', 'size', 'size', 'size'),
  ggml_concat: op(t, t, 'int'),
  ggml_set_inplace: op(t, t, 'size', 'size', 'size', 'size'),
  ggml_get_rows: op(t, t),
  ggml_set_rows: op(t, t, t),

  ggml_mul_mat: op(t, t),
  ggml_mul_mat_id: op(t, t, t),
  ggml_mul_mat_set_prec: ['void', t, 'int'],
  ggml_out_prod: op(t, t),
  ggml_add: op(t, t),
  ggml_sub: op(t, t),
  ggml_mul: op(t, t),
  ggml_div: op(t, t),
  ggml_scale: op(t, 'float'),
  ggml_scale_bias: op(t, 'float', 'float'),
  ggml_clamp: op(t, 'float', 'float'),
  ggml_sum_rows: op(t),
  ggml_pool_1d: op(t, 'int', 'int', 'int', 'int'),
  ggml_sqr: op(t),
  ggml_sqrt: op(t),
  ggml_log: op(t),
  ggml_exp: op(t),
  ggml_abs: op(t),
  ggml_round: op(t),
  ggml_neg: op(t),
  ggml_step: op(t),
  ggml_sgn: op(t),
  ggml_sin: op(t),
  ggml_cos: op(t),
  ggml_tanh: op(t),
  ggml_sigmoid: op(t),
  ggml_softplus: op(t),
  ggml_relu: op(t),
  ggml_silu: op(t),
  ggml_gelu: op(t),
  ggml_gelu_erf: op(t),
  ggml_gelu_quick: op(t),
  ggml_swiglu: op(t),
  ggml_swiglu_split: op(t, t),
  ggml_geglu_erf: op(t),
  ggml_rms_norm: op(t, 'float'),
  ggml_norm: op(t, 'float'),
  ggml_l2_norm: op(t, 'float'),
  ggml_soft_max_ext: op(t, t, 'float', 'float'),
  ggml_soft_max_add_sinks: ['void', t, t],
  ggml_flash_attn_ext: op(t, t, t, t, 'float', 'float', 'float'),
  ggml_flash_attn_ext_set_prec: ['void', t, 'int'],
  ggml_flash_attn_ext_add_sinks: ['void', t, t],
  ggml_rope_ext: op(t, t, t, 'int', 'int', 'int', 'float', 'float', 'float', 'float', 'float', 'float'),
  ggml_roll: op(t, 'int', 'int', 'int', 'int'),
  ggml_argsort: op(t, 'int'),
  ggml_top_k: op(t, 'int'),
  ggml_ssm_conv: op(t, t),
  ggml_ssm_scan: op(t, t, t, t, t, t, t, 'size'),
  ggml_gated_delta_net: op(t, t, t, t, t, t, 'size'),

  ggml_new_graph_custom: ['pointer', 'pointer', 'size', 'bool'],
  ggml_build_forward_expand: ['void', 'pointer', 'pointer'],
  ggml_graph_n_nodes: ['int', 'pointer'],
  ggml_graph_node: ['pointer', 'pointer', 'int'],
  ggml_gallocr_new: ['pointer', 'pointer'],
  ggml_gallocr_free: ['void', 'pointer'],
  ggml_gallocr_reserve: ['bool', 'pointer', 'pointer'],
  ggml_gallocr_reserve_n_size: ['void', 'pointer', 'pointer', 'pointer', 'pointer', 'memory'],
  ggml_gallocr_alloc_graph: ['bool', 'pointer', 'pointer'],

  ggml_backend_sched_new: ['pointer', 'memory', 'pointer', 'int', 'size', 'bool', 'bool'],
  ggml_backend_sched_free: ['void', 'pointer'],
  ggml_backend_sched_alloc_graph: ['bool', 'pointer', 'pointer'],
  ggml_backend_sched_graph_compute: ['int', 'pointer', 'pointer'],
  ggml_backend_sched_get_buffer_size: ['size', 'pointer', 'pointer'],
  ggml_backend_sched_get_n_splits: ['int', 'pointer'],

  ggml_backend_dev_name: ['str', 'pointer'],
  ggml_backend_dev_description: ['str', 'pointer'],
  ggml_backend_dev_init: ['pointer', 'pointer', 'str'],
  ggml_backend_dev_backend_reg: ['pointer', 'pointer'],
  ggml_backend_dev_type: ['int', 'pointer'],
  ggml_backend_dev_memory: ['void', 'pointer', 'memory', 'memory'],
  ggml_backend_dev_buffer_type: ['pointer', 'pointer'],
  ggml_backend_reg_name: ['str', 'pointer'],
  ggml_backend_dev_supports_op: ['bool', 'pointer', 'pointer'],
  ggml_backend_reg_get_proc_address: ['pointer', 'pointer', 'str'],
  ggml_backend_free: ['void', 'pointer'],
  ggml_backend_graph_compute: ['int', 'pointer', 'pointer'],
  ggml_backend_get_default_buffer_type: ['pointer', 'pointer'],
  ggml_backend_alloc_ctx_tensors_from_buft: ['pointer', 'pointer', 'pointer'],
  ggml_backend_cpu_buffer_from_ptr: ['pointer', 'pointer', 'size'],
  ggml_backend_buft_name: ['str', 'pointer'],
  ggml_backend_buft_is_host: ['bool', 'pointer'],
  ggml_backend_buft_get_max_size: ['size', 'pointer'],
  ggml_backend_buft_get_alloc_size: ['size', 'pointer', 'pointer'],
  ggml_backend_buffer_free: ['void', 'pointer'],
  ggml_backend_buffer_get_base: ['pointer', 'pointer'],
  ggml_backend_buffer_get_size: ['size', 'pointer'],
  ggml_backend_buffer_set_usage: ['void', 'pointer', 'int'],
  ggml_backend_buft_alloc_buffer: ['pointer', 'pointer', 'size'],
  ggml_backend_tensor_alloc: ['int', 'pointer', 'pointer', 'pointer'],
  ggml_backend_tensor_set: ['void', 'pointer', 'memory', 'size', 'size'],
  ggml_backend_tensor_get: ['void', 'pointer', 'memory', 'size', 'size'],
} as const satisfies Readonly<Record<string, Signature>>;

/** libggml: the registry of devices. */
export const REGISTRY_FUNCTIONS = {
  ggml_backend_load_all_from_path: ['void', 'str'],
  ggml_backend_load: ['pointer', 'str'],
  ggml_backend_dev_count: ['size'],
  ggml_backend_dev_get: ['pointer', 'size'],
  ggml_backend_dev_by_type: ['pointer', 'int'],
} as const satisfies Readonly<Record<string, Signature>>;

/** Of the CPU device, by `ggml_backend_reg_get_proc_address`. */
export const CPU_FUNCTIONS = {
  ggml_backend_set_n_threads: ['void', 'pointer', 'int'],
  ggml_backend_set_abort_callback: ['void', 'pointer', 'pointer', 'pointer'],
  ggml_backend_cpu_set_threadpool: ['void', 'pointer', 'pointer'],
  ggml_threadpool_new: ['pointer', 'memory'],
  ggml_threadpool_free: ['void', 'pointer'],
  ggml_backend_dev_get_extra_bufts: ['pointer', 'pointer'],
  ggml_backend_get_features: ['pointer', 'pointer'],
} as const satisfies Readonly<Record<string, Signature>>;

type ArgumentsOf<S extends readonly CType[]> = { readonly [I in keyof S]: CTypes[S[I]] };
type CallOf<S extends Signature> = S extends readonly [infer R extends CType, ...infer A extends readonly CType[]]
  ? (...args: ArgumentsOf<A>) => CTypes[R]
  : never;
export type Calls<T extends Readonly<Record<string, Signature>>> = { readonly [K in keyof T]: CallOf<T[K]> };
