#!/bin/sh
# spdx.sh VERSION EPOCH BNC: an SPDX 2.3 document (JSON) of what bnc is made of and links. EPOCH: seconds; BNC:
# the program, whose hash makes the document's name one of its own.
set -e
version=$1
created=$(date -u -d "@$2" +%Y-%m-%dT%H:%M:%SZ)
hash=$(sha256sum "$3" | cut -c1-32)

# NAME LICENCE COPYRIGHT RELATION WHY: besides bnc itself.
parts='unicode-data|Unicode-DFS-2016|Copyright (c) 1991-2022 Unicode, Inc.|CONTAINS|Character classes in the tokenizer are made of its tables.
xxhash|BSD-2-Clause|Copyright (c) 2012-2021 Yann Collet|DYNAMIC_LINK|Linked by bnc, not by compiled models.
jansson|MIT|Copyright (c) 2009-2020 Petri Lehtinen and contributors|DYNAMIC_LINK|Linked by bnc, not by compiled models.
libb2|CC0-1.0|Written in 2012 by Samuel Neves|DYNAMIC_LINK|Linked by bnc, not by compiled models.
libedit|BSD-3-Clause|Copyright (c) 1992, 1993 The Regents of the University of California|DYNAMIC_LINK|Linked by bnc, not by compiled models.'

package() { # NAME VERSION LICENCE COPYRIGHT COMMENT
    cat <<P
    {
      "SPDXID": "SPDXRef-$1",
      "name": "$1",
      "versionInfo": "$2",
      "downloadLocation": "NOASSERTION",
      "filesAnalyzed": false,
      "licenseConcluded": "$3",
      "licenseDeclared": "$3",
      "copyrightText": "$4",
      "comment": "$5"
    }
P
}

cat <<D
{
  "spdxVersion": "SPDX-2.3",
  "dataLicense": "CC0-1.0",
  "SPDXID": "SPDXRef-DOCUMENT",
  "name": "bnc-$version",
  "documentNamespace": "urn:bnc:spdx:$version:$hash",
  "creationInfo": {
    "created": "$created",
    "creators": ["Organization: the bnc authors", "Tool: packaging/spdx.sh"]
  },
  "packages": [
D
package bnc "$version" MIT "Copyright (c) 2026 the bnc authors" "The compiler bnc and the runtime libbnrt."
echo "$parts" | while IFS='|' read -r name licence copyright relation why; do
    echo "    ,"
    package "$name" NOASSERTION "$licence" "$copyright" "$why"
done
cat <<D
  ],
  "relationships": [
    {"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": "SPDXRef-bnc"}
D
echo "$parts" | while IFS='|' read -r name licence copyright relation why; do
    echo "    ,{\"spdxElementId\": \"SPDXRef-bnc\", \"relationshipType\": \"$relation\", \"relatedSpdxElement\": \"SPDXRef-$name\"}"
done
cat <<D
  ]
}
D
