import { describe, expect, test } from 'vitest';
import { blocked, policyWith } from './fake-dns.ts';

const publicAddresses = [
  '8.8.8.8',
  '1.1.1.1',
  '100.63.255.255',
  '100.128.0.1',
  '172.15.255.255',
  '172.32.0.1',
  '192.167.1.1',
  '223.255.255.254',
  '2606:4700:4700::1111',
  '2a00:1450:4001:82a::200e',
  '::ffff:8.8.8.8', // IPv4-mapped
  '64:ff9b::8.8.8.8', // NAT64
  '2002:808:808::1', // 6to4 of 8.8.8.8
  '2001:0:808:808:0:0:f7f7:f7f7', // Teredo of 8.8.8.8 by way of 8.8.8.8
];

const privateAddresses = [
  '0.0.0.0',
  '0.1.2.3',
  '10.0.0.1',
  '10.255.255.255',
  '100.64.0.1', // carrier-grade NAT
  '100.127.255.255',
  '127.0.0.1',
  '127.255.255.254',
  '169.254.0.1', // link-local
  '172.16.0.1',
  '172.31.255.255',
  '192.0.0.1',
  '192.0.2.1', // documentation
  '198.51.100.1',
  '203.0.113.1',
  '192.88.99.1', // 6to4 relays
  '192.168.1.1',
  '198.18.0.1', // benchmarking
  '198.19.255.255',
  '224.0.0.1', // multicast
  '239.255.255.255',
  '240.0.0.1',
  '255.255.255.255',
  '::',
  '::1',
  '::127.0.0.1', // IPv4-compatible
  '::10.0.0.1',
  '::8.8.8.8',
  '::ffff:127.0.0.1', // IPv4-mapped
  '::ffff:10.0.0.1',
  '::ffff:7f00:1',
  '0:0:0:0:0:ffff:c0a8:101',
  '::ffff:0:10.0.0.1', // IPv4-translated
  '64:ff9b::10.0.0.1', // NAT64
  '64:ff9b::7f00:1',
  '64:ff9b:1::8.8.8.8', // local NAT64
  '64:ff9b:1:a00:0:100::',
  '2002:7f00:1::1', // 6to4 of 127.0.0.1
  '2002:a00:1::', // 6to4 of 10.0.0.1
  '2002:c0a8:101::1',
  '2001:0:808:808:0:0:f5ff:fffe', // Teredo of 10.0.0.1
  '2001:0:a00:1:0:0:f7f7:f7f7', // Teredo by way of 10.0.0.1
  '2001:2::1', // benchmarking
  '2001:10::1', // ORCHID
  '2001:20::1',
  '2001:db8::1', // documentation
  '3fff::1',
  '100::1', // discard
  '5f00::1', // segment routing
  '4000::1', // never handed out
  'fc00::1', // unique local
  'fd12:3456:789a::1',
  'fe80::1', // link-local
  'febf::1',
  'fec0::1', // site-local
  'ff02::1', // multicast
  'ff0e::1',
];

const metadataAddresses = [
  '169.254.169.254',
  '169.254.170.2',
  '169.254.170.23',
  '168.63.129.16',
  '100.100.100.200',
  '192.0.0.192',
  'fd00:ec2::254',
  'fd00:ec2::23',
  'fd20:ce::254',
  '::ffff:169.254.169.254',
  '::ffff:a9fe:a9fe',
  '::169.254.169.254',
  '64:ff9b::169.254.169.254',
  '64:ff9b::a83f:8110',
  '64:ff9b:1::169.254.169.254',
  '64:ff9b:1:a9fe:a9:fe00::',
  '2002:a9fe:a9fe::1',
  '2001:0:808:808:0:0:5601:5601',
];

const urlOf = (address: string): string => `https://${address.includes(':') ? `[${address}]` : address}/hook`;

describe('without an allow-list', () => {
  const names = Object.fromEntries(
    [...publicAddresses, ...privateAddresses].map((each, index) => [`n${index}.example`, [each]]),
  );
  const nameOf = (address: string): string => Object.keys(names).find((name) => names[name]?.[0] === address)!;
  const policy = policyWith('', names);

  test.for(publicAddresses)('%s may be connected to, as a literal and by name', async (address) => {
    policy.checkPop3({ host: address, port: 995 });
    policy.checkWebhookUrl(urlOf(address));
    expect(await policy.resolvePop3(address, 110)).toHaveLength(1);
    expect(await policy.resolveWebhook(address, 443)).toHaveLength(1);
    expect(await policy.resolvePop3(nameOf(address), 995)).toHaveLength(1);
    expect(await policy.resolveWebhook(nameOf(address), 8443)).toHaveLength(1);
  });

  test.for(privateAddresses)('%s may not, as a literal or by name', async (address) => {
    expect(() => policy.checkPop3({ host: address, port: 995 })).toThrow(blocked);
    expect(() => policy.checkWebhookUrl(urlOf(address))).toThrow(blocked);
    await expect(policy.resolvePop3(address, 110)).rejects.toThrow(blocked);
    await expect(policy.resolveWebhook(address, 443)).rejects.toThrow(blocked);
    await expect(policy.resolvePop3(nameOf(address), 995)).rejects.toThrow(blocked);
    await expect(policy.resolveWebhook(nameOf(address), 443)).rejects.toThrow(blocked);
  });
});

test.for(metadataAddresses)('metadata service %s is blocked even where everything is allowed', async (address) => {
  const policy = policyWith('0.0.0.0/0:*,[::]/0:*,mail.internal:*', { 'mail.internal': [address] });
  expect(() => policy.checkPop3({ host: address, port: 110 })).toThrow(blocked);
  expect(() => policy.checkWebhookUrl(urlOf(address))).toThrow(blocked);
  await expect(policy.resolvePop3(address, 80)).rejects.toThrow(blocked);
  await expect(policy.resolveWebhook(address, 80)).rejects.toThrow(blocked);
  await expect(policy.resolvePop3('mail.internal', 110)).rejects.toThrow(blocked);
});
