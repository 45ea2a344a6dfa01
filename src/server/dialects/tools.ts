/**
 * @file Tools as all dialects hand them to turns.
 */
import { HttpError } from '../http-error.ts';
import type { TurnTool } from '../turn.ts';

type ToolChoice = 'auto' | 'required' | { readonly name: string };

/** Which tools may be called, by name, and whether one of them must be. */
interface AllowedTools {
  readonly mode: 'auto' | 'required';
  readonly allowed: readonly string[];
}

/**
 * The tools of the prompt, and which of them must be called. Of allowed tools the prompt has no others.
 * @throws HttpError for a choice without tools, and for allowed tools that are not there.
 */
export function toolsOf(
  tools: readonly TurnTool[] | null | undefined,
  choice: ToolChoice | AllowedTools | 'none',
): { readonly tools: readonly TurnTool[] | undefined; readonly toolChoice: ToolChoice } {
  if (!tools?.length && choice !== 'auto' && choice !== 'none')
    throw new HttpError(400, 'tool_choice: there are no tools', { param: 'tool_choice' });
  if (!tools?.length || choice === 'none') return { toolChoice: 'auto', tools: undefined };
  if (typeof choice === 'string' || !('allowed' in choice)) return { toolChoice: choice, tools };
  const { allowed, mode } = choice;
  const missing = allowed.find((name) => tools.every((tool) => tool.function.name !== name));
  if (missing !== undefined)
    throw new HttpError(400, `tool_choice: there is no tool ${missing} in tools`, { param: 'tool_choice' });
  return { toolChoice: mode, tools: tools.filter((tool) => allowed.includes(tool.function.name)) };
}

/** The arguments of a call as an object, which chat templates want. What is no JSON stays a text. */
export function parsedArguments(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** A call as chat templates read it. */
export const templateCall = (id: string, name: string, args: unknown) => ({
  id,
  type: 'function',
  function: { name, arguments: args },
});

/** The text of content that is a text or a list of parts. @param types of parts that are text. */
export function contentText(
  content: string | readonly { readonly type: string; readonly [key: string]: unknown }[] | null | undefined,
  types: readonly string[],
  path: string,
): string {
  if (typeof content === 'string') return content;
  const texts = (content ?? []).map((part, i) => {
    if (types.includes(part.type) && typeof part['text'] === 'string') return part['text'];
    if (part.type === 'refusal' && typeof part['refusal'] === 'string') return part['refusal'];
    throw new HttpError(400, `${path}.${i}: parts of type "${part.type}" are not supported, only text`, {
      param: `${path}.${i}`,
      code: 'unsupported_content',
    });
  });
  return texts.join('');
}
