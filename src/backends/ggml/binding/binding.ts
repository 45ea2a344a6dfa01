/**
 * @file Opens ggml's shared libraries and makes their functions callable. Nothing is loaded before {@link openGgml} or
 * {@link beginGgml} is called.
 */
import { createRequire } from 'node:module';
import type * as Koffi from 'koffi';
import { EngineError } from '../../../util/errors.ts';
import {
  BASE_FUNCTIONS,
  type Calls,
  CPU_FUNCTIONS,
  type CType,
  type Pointer,
  REGISTRY_FUNCTIONS,
} from './functions.ts';
import type { Ggml, KoffiModule } from './ggml.ts';
import { startThread } from './native-thread.ts';
import { findLibraries, GGML_VERSION, type LibraryFiles } from './platform.ts';
import { checkTensorLayout } from './tensor-layout.ts';

/** A function of koffi's that can also run on another thread. */
interface AsyncCall {
  async(...args: [...unknown[], done: (error: unknown, result: number) => void]): void;
}

type KoffiTypes = Readonly<Record<CType, string | ReturnType<KoffiModule['struct']>>>;

/**
 * ggml's C types for koffi. The struct has no name: copies of this module in one process (hot reload) share koffi's
 * names.
 */
const koffiTypes = (koffi: KoffiModule): KoffiTypes => ({
  void: 'void',
  pointer: 'void *',
  memory: 'void *',
  int: 'int',
  float: 'float',
  size: 'int64_t',
  bool: 'bool',
  str: 'const char *',
  init: koffi.struct({ mem_size: 'size_t', mem_buffer: 'void *', no_alloc: 'bool' }),
});

/** A table as it is walked. */
type Table = Readonly<Record<string, readonly [CType, ...CType[]]>>;
/** `GGML_BACKEND_DEVICE_TYPE_CPU` */
const CPU_DEVICE = 0;
/** Loads the build for this processor. */
const LOAD_BUILDS = 'ggml_backend_load_all_from_path';
/** From the first address that is a multiple of any alignment to the end of what a signed size can say. */
const ALL_MEMORY = { base: 4096n, size: Number.MAX_SAFE_INTEGER - 8191 };

/** Stands for arrays without memory, which may have no address. */
const NOTHING = new Uint8Array(new ArrayBuffer(4096));

let opened: Ggml | null = null;
/** Libraries whose builds for processors are being loaded, and what waits for that. */
let opening: { readonly libraries: Libraries; readonly join: () => void } | null = null;

/**
 * ggml, opened at the first call.
 * @throws EngineError for a platform without libraries, a package that is missing, or one of another version.
 */
export function openGgml(): Ggml {
  if (!opened) {
    beginGgml();
    const { libraries, join } = opening!;
    join();
    opening = null;
    opened = complete(libraries);
  }
  return opened;
}

/**
 * Begins to open ggml, so that {@link openGgml} takes less time: ggml tries its builds for processors on another
 * thread.
 * @throws EngineError as {@link openGgml}.
 */
export function beginGgml(): void {
  if (opened || opening) return;
  const libraries = openLibraries(findLibraries());
  const { koffi, registry, calls, files } = libraries;
  const join = startThread(koffi, registry.symbol(LOAD_BUILDS) as Pointer, files.folder);
  opening = { libraries, join: join ?? (() => calls[LOAD_BUILDS](files.folder)) };
}

/** ggml's libraries without those that compute. */
interface Libraries {
  readonly files: LibraryFiles;
  readonly koffi: KoffiModule;
  readonly types: KoffiTypes;
  readonly calls: Ggml;
  /** Devices and their registry. */
  readonly registry: Koffi.LibraryHandle;
  /** The address of an exported function of the base library. */
  readonly symbol: (name: string) => Pointer;
}

function openLibraries(files: LibraryFiles): Libraries {
  const koffi = loadKoffi();
  const types = koffiTypes(koffi);
  const base = load(koffi, files.base);
  const registry = load(koffi, files.registry);
  const symbol = (name: string): Pointer => base.symbol(name) as Pointer;
  const bind = (library: Koffi.LibraryHandle, table: Table): Record<string, unknown> =>
    Object.fromEntries(
      Object.entries(table).map(([name, [result, ...args]]) => [
        name,
        library.func(
          name,
          types[result],
          args.map((type) => types[type]),
        ),
      ]),
    );
  const version = (base.func('ggml_version', 'const char *', []) as () => string)();
  if (version !== GGML_VERSION)
    throw new EngineError(`${files.base}: this is ggml ${version}, but the ggml engine was made for ${GGML_VERSION}`);
  const calls = { ...bind(base, BASE_FUNCTIONS), ...bind(registry, REGISTRY_FUNCTIONS) } as unknown as Ggml;
  // Log lines would go to stderr. This function takes no arguments and has no effect, so it can be called as a log
  // callback from any thread.
  calls.ggml_log_set(symbol('ggml_tensor_overhead'), null);
  return { files, koffi, types, calls, registry, symbol };
}

/** @throws EngineError where no build for this processor was loaded. */
function complete({ files, koffi, types, calls, symbol }: Libraries): Ggml {
  const cpu = calls.ggml_backend_dev_by_type(CPU_DEVICE);
  if (!cpu) throw new EngineError(`${files.folder}: ggml found no build for this processor`);
  const cpuCalls = bindCpu(koffi, types, calls, cpu);
  const later = (
    name:
      | 'ggml_backend_graph_compute'
      | 'ggml_backend_sched_graph_compute'
      | 'ggml_backend_tensor_set'
      | 'ggml_quantize_chunk',
    ...args: unknown[]
  ): Promise<number> =>
    new Promise((resolve, reject) => {
      const call = calls[name] as unknown as AsyncCall;
      call.async(...args, (error: unknown, result: number) => (error ? reject(error) : resolve(result)));
    });
  const ggml: Ggml = {
    ...calls,
    ...cpuCalls,
    files,
    cpu,
    koffi,
    symbol,
    fastBuffers: fastBuffers(koffi, calls, cpuCalls, cpu),
    hostBuffer: calls.ggml_backend_cpu_buffer_from_ptr(ALL_MEMORY.base, ALL_MEMORY.size),
    features: features(koffi, calls, cpuCalls, cpu),
    addressOf: addresses(koffi),
    compute: (backend, graph) => later('ggml_backend_graph_compute', backend, graph),
    computeScheduled: (scheduler, graph) => later('ggml_backend_sched_graph_compute', scheduler, graph),
    quantize: async (...args) => {
      await later('ggml_quantize_chunk', ...args);
    },
    setTensor: async (tensor, address, length) => {
      await later('ggml_backend_tensor_set', tensor, address, 0, length);
    },
  };
  checkTensorLayout(ggml);
  return ggml;
}

/** Addresses of arrays, which stay where they are once they were asked for: each is asked for once. */
function addresses(koffi: KoffiModule): Ggml['addressOf'] {
  const known = new WeakMap<ArrayBufferView, bigint>();
  return (array) => {
    if (array.byteLength === 0) return koffi.address(NOTHING);
    let address = known.get(array);
    if (address === undefined) {
      address = koffi.address(array);
      known.set(array, address);
    }
    return address;
  };
}

function loadKoffi(): KoffiModule {
  try {
    return createRequire(import.meta.url)('koffi') as KoffiModule;
  } catch (cause) {
    throw new EngineError(
      'the ggml engine needs the package koffi, which is not installed or has no build for this platform ' +
        "(an install with --omit=optional leaves it out): npm install koffi, or load with the option engine: 'onnx'",
      { cause },
    );
  }
}

function load(koffi: KoffiModule, path: string): Koffi.LibraryHandle {
  try {
    return koffi.load(path, { global: true });
  } catch (cause) {
    throw new EngineError(
      `${path} can't be loaded (${cause instanceof Error ? cause.message : cause}); ` +
        "the option engine: 'onnx' works without it where onnxruntime-node is installed",
      { cause },
    );
  }
}

/** The functions of the CPU device, which are in the library that was chosen for this processor. */
function bindCpu(koffi: KoffiModule, types: KoffiTypes, calls: Ggml, cpu: Pointer): Calls<typeof CPU_FUNCTIONS> {
  const registry = calls.ggml_backend_dev_backend_reg(cpu);
  const table: Table = CPU_FUNCTIONS;
  const bound = Object.entries(table).map(([name, [result, ...args]]) => {
    const address = calls.ggml_backend_reg_get_proc_address(registry, name);
    if (!address) throw new EngineError(`${calls.ggml_version()}: ggml's CPU build has no function ${name}`);
    const type = koffi.proto(
      types[result],
      args.map((arg) => types[arg]),
    );
    return [name, (...values: unknown[]): unknown => koffi.call(address, type, ...values)];
  });
  return Object.fromEntries(bound) as Calls<typeof CPU_FUNCTIONS>;
}

/** Reads a list of pointers that ends with null, `fields` pointers an entry. */
function pointers(koffi: KoffiModule, list: Pointer, fields = 1): Pointer[][] {
  const found: Pointer[][] = [];
  if (!list) return found;
  for (let i = 0; ; i++) {
    const entry = Array.from(
      { length: fields },
      (_, field) => koffi.decode(list, 8 * (i * fields + field), 'void *') as Pointer,
    );
    if (!entry[0]) return found;
    found.push(entry);
  }
}

function fastBuffers(
  koffi: KoffiModule,
  calls: Ggml,
  { ggml_backend_dev_get_extra_bufts }: Calls<typeof CPU_FUNCTIONS>,
  cpu: Pointer,
) {
  return pointers(koffi, ggml_backend_dev_get_extra_bufts(cpu)).map(([type]) => ({
    type,
    name: calls.ggml_backend_buft_name(type),
  }));
}

function features(
  koffi: KoffiModule,
  calls: Ggml,
  { ggml_backend_get_features }: Calls<typeof CPU_FUNCTIONS>,
  cpu: Pointer,
) {
  return pointers(koffi, ggml_backend_get_features(calls.ggml_backend_dev_backend_reg(cpu)), 2).map(
    ([name]) => koffi.decode.string(name) as string,
  );
}
