// Runs calls with OpenAI's official client for Node: reads {baseURL, calls} as JSON from standard input, and writes what became of each
// call, in order, as JSON.
import OpenAI from 'openai';

let input = '';
for await (const chunk of process.stdin) input += chunk;
const { baseURL, calls } = JSON.parse(input);

function failure(err) {
  return {
    kind: err.constructor.name,
    status: err.status ?? 0,
    code: err.code ?? '',
    param: err.param ?? '',
    type: err.type ?? '',
    retry_after: err.headers?.get?.('retry-after') ?? '',
  };
}

function used(usage) {
  return usage
    ? [usage.prompt_tokens, usage.completion_tokens, usage.total_tokens, usage.prompt_tokens_details?.cached_tokens ?? 0, usage.completion_tokens_details?.reasoning_tokens ?? 0]
    : null;
}

async function run(call) {
  const client = new OpenAI({ baseURL, apiKey: call.key, maxRetries: call.retries, timeout: call.timeout_ms || 20_000 });
  const out = { text: '', finish: '', usage: null, role: '', model: '' };
  try {
    if (!call.body.stream) {
      const answer = await client.chat.completions.create(call.body);
      out.text = answer.choices[0].message.content;
      out.role = answer.choices[0].message.role;
      out.finish = answer.choices[0].finish_reason;
      out.model = answer.model;
      out.usage = used(answer.usage);
      return out;
    }
    const stream = await client.chat.completions.create(call.body);
    for await (const chunk of stream) {
      out.model = chunk.model;
      out.usage = used(chunk.usage) ?? out.usage;
      const choice = chunk.choices[0];
      if (!choice) continue;
      out.role ||= choice.delta.role ?? '';
      out.text += choice.delta.content ?? '';
      out.finish = choice.finish_reason ?? out.finish;
      if (call.leave_after && out.text.length >= call.leave_after) break;
    }
  } catch (err) {
    out.error = failure(err);
  }
  return out;
}

const results = [];
for (const call of calls) results.push(await run(call));
process.stdout.write(JSON.stringify(results));
