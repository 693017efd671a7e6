"""Categories of nmap's scripts that may do harm, log in or find weaknesses, as its script.db has them (7.93 to 7.99).

Only what is in one of auth, brute, dos, exploit, fuzzer, intrusive, malware, vuln; all others are discovery or safe.
"""

from __future__ import annotations

from typing import Final

NAMES: Final = """
all auth broadcast brute default discovery dos exploit external fuzzer intrusive malware safe version vuln
"""
CATEGORIES: Final = frozenset(NAMES.split())
TABLE: Final = """
auth,brute: dicom-brute
auth,default,discovery,safe: dicom-ping
auth,default,safe: ajp-auth creds-summary ftp-anon http-auth snmp-win32-users x11-access
auth,discovery,intrusive: http-default-accounts
auth,discovery,safe: ms-sql-dump-hashes ms-sql-hasdbaccess mysql-dump-hashes mysql-query
auth,exploit,intrusive: http-barracuda-dir-traversal
auth,exploit,vuln: http-vuln-cve2017-5689
auth,external,intrusive: smtp-enum-users
auth,intrusive: domcon-cmd domino-enum-users http-config-backup http-domino-enum-passwords http-userdir-enum
    informix-query informix-tables krb5-enum-users ms-sql-empty-password mysql-empty-password mysql-users
    oracle-enum-users sip-enum-users smb-enum-users ssh-auth-methods ssh-publickey-acceptance
auth,intrusive,vuln: http-wordpress-users
auth,safe: ncp-enum-users
auth,safe,vuln: http-vuln-cve2010-0738 netbus-auth-bypass realvnc-auth-bypass
auth,vuln: http-method-tamper
broadcast,dos,intrusive,vuln: broadcast-avahi-dos
brute,external,intrusive: http-proxy-brute
brute,intrusive: afp-brute ajp-brute backorifice-brute cassandra-brute cics-enum cics-user-brute cics-user-enum
    citrix-brute-xml cvs-brute cvs-brute-repository deluge-rpc-brute domcon-brute dpap-brute drda-brute ftp-brute
    http-brute http-form-brute http-iis-short-name-brute http-joomla-brute http-wordpress-brute iax2-brute
    imap-brute impress-remote-discover informix-brute ipmi-brute irc-brute irc-sasl-brute iscsi-brute ldap-brute
    lu-enum membase-brute metasploit-msgrpc-brute metasploit-xmlrpc-brute mikrotik-routeros-brute mmouse-brute
    mongodb-brute ms-sql-brute mysql-brute mysql-enum nessus-brute nessus-xmlrpc-brute netbus-brute nexpose-brute
    nje-node-brute nje-pass-brute nping-brute omp2-brute openvas-otp-brute oracle-brute oracle-brute-stealth
    oracle-sid-brute pcanywhere-brute pgsql-brute pop3-brute redis-brute rexec-brute rlogin-brute rpcap-brute
    rsync-brute rtsp-url-brute sip-brute smb-brute smtp-brute snmp-brute socks-brute ssh-brute svn-brute
    telnet-brute tso-enum vmauthd-brute vnc-brute vtam-enum xmpp-brute
default,discovery,safe,version,vuln: wdb-version
default,discovery,safe,vuln: ssl-known-key
default,safe,vuln: http-cookie-flags http-git
discovery,external,intrusive: smtp-open-relay
discovery,external,malware,safe: dns-zeustracker http-google-malware
discovery,intrusive: dns-brute dns-cache-snoop dns-ip6-arpa-scan dns-nsec-enum dns-nsec3-enum dns-zone-transfer
    hartip-info http-chrono http-devframework http-drupal-enum http-drupal-enum-users http-errors http-feed
    http-open-redirect http-put http-sitemap-generator http-unsafe-output-escaping http-vhosts http-waf-detect
    http-waf-fingerprint http-wordpress-enum iec-identify mikrotik-routeros-username-brute modbus-discover
    mysql-databases mysql-variables nbd-info nrpe-enum ntp-monlist profinet-cm-lookup sip-call-spoof
    smb-enum-domains smb-enum-groups smb-enum-processes smb-enum-sessions smb-enum-shares smb-server-stats
    smb-system-info sniffer-detect ssl-enum-ciphers stuxnet-detect tftp-enum vnc-title
discovery,intrusive,safe: smb-enum-services
discovery,intrusive,version: iec61850-mms
discovery,intrusive,vuln: http-enum mysql-vuln-cve2012-2122
discovery,safe,vuln: http-internal-ip-disclosure http-jsonp-detection http-trace irc-botnet-channels
    ssl-cert-intaddr
discovery,vuln: http-aspnet-debug
dos,exploit,intrusive,vuln: smb-vuln-conficker smb-vuln-cve2009-3103 smb-vuln-ms06-025 smb-vuln-ms07-029
    smb-vuln-ms08-067 smb-vuln-regsvc-dos
dos,intrusive: http-slowloris ipv6-ra-flood smb-flood
dos,intrusive,vuln: smb-vuln-ms10-054
exploit: http-coldfusion-subzero
exploit,intrusive: jdwp-exec jdwp-inject smb-webexec-exploit
exploit,intrusive,malware,vuln: ftp-proftpd-backdoor ftp-vsftpd-backdoor irc-unrealircd-backdoor
exploit,intrusive,vuln: afp-path-vuln distcc-cve2004-2687 http-awstatstotals-exec http-axis2-dir-traversal http-csrf
    http-dombased-xss http-fileupload-exploiter http-litespeed-sourcecode-download http-majordomo2-dir-traversal
    http-shellshock http-stored-xss http-vuln-cve2006-3392 http-vuln-cve2009-3960 http-vuln-cve2012-1823
    http-vuln-cve2013-7091 http-vuln-cve2014-3704 http-vuln-cve2014-8877 http-vuln-wnr1000-creds qconn-exec
    smtp-vuln-cve2010-4344
exploit,vuln: clamav-exec http-adobe-coldfusion-apsa1301 http-avaya-ipoffice-users http-dlink-backdoor
    http-huawei-hg5xx-vuln http-phpmyadmin-dir-traversal http-tplink-dir-traversal http-vuln-cve2013-0156
    http-vuln-cve2013-6786 supermicro-ipmi-conf
external,intrusive: dns-random-srcport dns-random-txid
external,malware,safe: http-virustotal
external,safe,vuln: http-cross-domain-policy vulners
fuzzer,intrusive: dns-fuzz http-form-fuzzer
fuzzer,intrusive,vuln: http-phpself-xss
intrusive: http-exif-spider http-rfi-spider mmouse-exec ms-sql-xp-cmdshell pjl-ready-message smb-print-text
    smb-psexec snmp-ios-config ssh-run tso-brute
intrusive,safe: metasploit-info
intrusive,vuln: dns-update firewall-bypass ftp-libopie ftp-vuln-cve2010-4221 http-iis-webdav-vuln http-passwd
    http-sql-injection http-vuln-cve2010-2861 http-vuln-cve2011-3368 http-vuln-cve2015-1427 http-vuln-cve2017-8917
    http-vuln-misfortune-cookie puppet-naivesigning rdp-vuln-ms12-020 rmi-vuln-classloader samba-vuln-cve-2012-1182
    smb-vuln-cve-2017-7494 smb-vuln-ms10-061 smb-vuln-webexec smtp-vuln-cve2011-1720 smtp-vuln-cve2011-1764
    sslv2-drown
malware,safe: auth-spoof http-malware-host smtp-strangeport
malware,safe,vuln: smb-double-pulsar-backdoor
safe,vuln: http-frontpage-login http-slowloris-check http-vmware-path-vuln http-vuln-cve2011-3192
    http-vuln-cve2014-2126 http-vuln-cve2014-2127 http-vuln-cve2014-2128 http-vuln-cve2014-2129
    http-vuln-cve2015-1635 http-vuln-cve2017-1001000 ipmi-cipher-zero rsa-vuln-roca smb-vuln-ms17-010
    smb2-vuln-uptime ssl-ccs-injection ssl-dh-params ssl-heartbleed ssl-poodle tls-ticketbleed
vuln: http-vuln-cve2017-5638
"""
"""A set of categories, and the scripts that have exactly these."""


def table() -> dict[str, frozenset[str]]:
    """Return the categories of each script of TABLE."""
    found: dict[str, frozenset[str]] = {}
    for line in TABLE.replace("\n    ", " ").strip().splitlines():
        categories, _, names = line.partition(": ")
        found |= dict.fromkeys(names.split(), frozenset(categories.split(",")))
    return found
