import type { Channel } from '../base/channel.ts';
import { absent, Fault } from '../contract/faults.ts';
import type { ArtifactInfo } from '../contract/runner.ts';
import type { RunRecord } from '../store/store.ts';
import type { ByteReader } from './control.ts';
import { faultOfFrame } from './runner-frames.ts';
import type { RunnerLink } from './runner-link.ts';

/**
 * A finished artifact's bytes. Throws `resource.absent` where the run has none of that name or its files have
 * expired. Ends with an error, never early, where the runner sends fewer or more bytes than it announced.
 */
export async function openArtifact(link: RunnerLink, run: RunRecord, name: string): Promise<ByteReader> {
  const info = run.filesExpired ? undefined : run.artifacts.find((artifact) => artifact.name === name);
  if (info === undefined) throw absent('artifact');
  const channel = await link.stream({ purpose: 'artifact', run: run.id, name });
  return {
    bytes: info.bytes,
    mediaType: info.mediaType,
    cancel: () => channel.close(),
    [Symbol.asyncIterator]: () => bytesOf(channel, info),
  };
}

async function* bytesOf(channel: Channel, info: ArtifactInfo): AsyncGenerator<Buffer, void, undefined> {
  let left = info.bytes;
  try {
    for (let frame = await channel.read(); frame !== null; frame = await channel.read()) {
      if (frame.kind === 'json') {
        const fault = faultOfFrame(frame.value);
        if (fault !== null) throw fault;
        continue;
      }
      left -= frame.bytes.length;
      if (left < 0) break;
      yield frame.bytes;
    }
  } catch (error) {
    throw error instanceof Fault ? error : cutOff(String(error));
  } finally {
    channel.close();
  }
  if (left !== 0) throw cutOff(`${left} bytes are missing`);
}

function cutOff(message: string): Fault {
  return new Fault('runner.unavailable', { detail: 'The artifact was cut off. Try again.', message });
}
