import { routeNetlink } from '../../base/libc.ts';
import { gatewayAddress, gatewayAddress6 } from '../../model/gateway-address.ts';
import { parseAddress } from '../../model/ip-address.ts';

/**
 * Makes every address local in the calling thread's network namespace: loopback up, and a default route of
 * type `local` for IPv4 and IPv6 (ip-route(8), "local"). A connection to any address then ends in this
 * namespace, at a listener there or refused at once; there is no other interface and no route to leak through.
 * The same as `ip link set lo up; ip route add local default dev lo; ip route add local ::/0 dev lo`, and an address
 * of each family that is not loopback's: without one, programs that ask for what the host can reach (AI_ADDRCONFIG)
 * take it to reach nothing.
 */
export function makeEveryAddressLocal(): void {
  const addresses = [gatewayAddress, gatewayAddress6].map((text, index) => addAddress(text, 4 + index));
  routeNetlink([linkUp(), localDefaultRoute(afInet, 2), localDefaultRoute(afInet6, 3), ...addresses]);
}

const afInet = 2;
const afInet6 = 10;
const loopback = 1;
const request = 0x1 | 0x4; // NLM_F_REQUEST | NLM_F_ACK
const create = 0x400 | 0x200; // NLM_F_CREATE | NLM_F_EXCL

function message(type: number, flags: number, sequence: number, body: Buffer): Buffer {
  const header = Buffer.alloc(16);
  header.writeUInt32LE(16 + body.length, 0);
  header.writeUInt16LE(type, 4);
  header.writeUInt16LE(flags, 6);
  header.writeUInt32LE(sequence, 8);
  return Buffer.concat([header, body]);
}

/** RTM_NEWLINK with IFF_UP set on interface 1. */
function linkUp(): Buffer {
  const info = Buffer.alloc(16); // struct ifinfomsg
  info.writeInt32LE(loopback, 4);
  info.writeUInt32LE(0x1, 8);
  info.writeUInt32LE(0x1, 12);
  return message(16, request, 1, info);
}

/** RTM_NEWROUTE of type RTN_LOCAL for the whole address family, in the table `local`, through loopback. */
function localDefaultRoute(family: number, sequence: number): Buffer {
  const route = Buffer.alloc(12); // struct rtmsg
  const [tableLocal, protocolBoot, scopeHost, typeLocal] = [255, 3, 254, 2];
  route.writeUInt8(family, 0);
  route.writeUInt8(tableLocal, 4);
  route.writeUInt8(protocolBoot, 5);
  route.writeUInt8(scopeHost, 6);
  route.writeUInt8(typeLocal, 7);
  const outInterface = Buffer.alloc(8); // struct rtattr RTA_OIF
  outInterface.writeUInt16LE(8, 0);
  outInterface.writeUInt16LE(4, 2);
  outInterface.writeInt32LE(loopback, 4);
  return message(24, request | create, sequence, Buffer.concat([route, outInterface]));
}

/** RTM_NEWADDR of one host's address, of global scope, on loopback; in use at once (IFA_F_NODAD). */
function addAddress(text: string, sequence: number): Buffer {
  const address = parseAddress(text)!;
  const family = address.family === 4 ? afInet : afInet6;
  const noDuplicateDetection = 0x02;
  const info = Buffer.alloc(8); // struct ifaddrmsg
  info.writeUInt8(family, 0);
  info.writeUInt8(address.bytes.length * 8, 1);
  info.writeUInt8(family === afInet6 ? noDuplicateDetection : 0, 2);
  info.writeUInt32LE(loopback, 4);
  const local = Buffer.alloc(4 + address.bytes.length); // struct rtattr IFA_LOCAL
  local.writeUInt16LE(local.length, 0);
  local.writeUInt16LE(2, 2);
  local.set(address.bytes, 4);
  return message(20, request | create, sequence, Buffer.concat([info, local]));
}
