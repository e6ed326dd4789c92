import { Duplex } from 'node:stream';
import type { Output } from '../environment.ts';

/** Standard input and output as the two ways of one connection. Whoever writes waits for the kernel. */
export function pipeTransport(input: AsyncIterable<Uint8Array>, output: Pick<Output, 'write'>): Duplex {
  const bytes = input[Symbol.asyncIterator]();
  const transport = new Duplex({
    read() {
      bytes.next().then(
        ({ done, value }) => transport.push(done === true ? null : value),
        (error: Error) => transport.destroy(error),
      );
    },
    writev(chunks, done) {
      output.write(Buffer.concat(chunks.map(({ chunk }) => chunk as Buffer))).then(() => done(), done);
    },
  });
  return transport;
}
